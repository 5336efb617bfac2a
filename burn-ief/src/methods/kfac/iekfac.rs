//! ieKFAC: factors of the improved empirical Fisher matrix.

use burn::config::Config;

use super::factor_options::FactorOptions;
use super::kronecker::Kronecker;
use super::options::FactorLabels;
use super::rule::FactorRule;
use crate::error::Error;
use crate::methods::config::MethodConfig;
use crate::methods::options::StepOptions;

/// ieKFAC: Kronecker factors of the improved empirical Fisher matrix, from true labels with the
/// errors of sample n scaled by `s_n^{-1/2}` (eq. 43 of the paper).
///
/// The model marks its output, see [`mark_output`](crate::mark_output). The update does not change
/// with the scale of the loss.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::kfac::{FactorDamping, FactorOptions, IekfacConfig};
/// use burn_ief::prelude::*;
///
/// let factors = FactorOptions::new().with_damping(FactorDamping::relative(10.0));
/// assert!(IekfacConfig::new().with_factors(factors).validate().is_ok());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct IekfacConfig {
    /// How the factors are measured, averaged and inverted.
    #[config(default = "FactorOptions::new()")]
    pub factors: FactorOptions,
    /// What happens to the update.
    #[config(default = "StepOptions::new()")]
    pub step: StepOptions,
}

impl MethodConfig for IekfacConfig {
    type Method = Kronecker<Iekfac>;

    fn try_build(&self) -> Result<Self::Method, Error> {
        Kronecker::new(Iekfac, &self.factors, &self.step)
    }
}

/// The member of the family that scales the errors of the true labels.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Iekfac;

impl FactorRule for Iekfac {
    fn factor_labels(&self) -> FactorLabels {
        FactorLabels::Improved
    }
}
