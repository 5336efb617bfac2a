//! eKFAC: factors of the empirical Fisher matrix, from true labels.

use burn::config::Config;

use super::factor_options::FactorOptions;
use super::kronecker::Kronecker;
use super::options::FactorLabels;
use super::rule::FactorRule;
use crate::error::Error;
use crate::methods::config::MethodConfig;
use crate::methods::options::StepOptions;

/// eKFAC: Kronecker factors of the empirical Fisher matrix, from true labels.
///
/// The name is that of the paper. It is not the eigenvalue-corrected K-FAC that is also called EKFAC.
/// Like EF it decreases every loss by the same amount, fitted or not: use it with
/// [`StepOptions::normalize`] and a step size that falls to zero.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::{StepOptions, kfac::EkfacConfig};
/// use burn_ief::prelude::*;
///
/// let step = StepOptions::new().with_normalize(Some(1.0));
/// assert!(EkfacConfig::new().with_step(step).validate().is_ok());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct EkfacConfig {
    /// How the factors are measured, averaged and inverted.
    #[config(default = "FactorOptions::new()")]
    pub factors: FactorOptions,
    /// What happens to the update.
    #[config(default = "StepOptions::new()")]
    pub step: StepOptions,
}

impl MethodConfig for EkfacConfig {
    type Method = Kronecker<Ekfac>;

    fn try_build(&self) -> Result<Self::Method, Error> {
        Kronecker::new(Ekfac, &self.factors, &self.step)
    }
}

/// The member of the family that takes the true labels.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Ekfac;

impl FactorRule for Ekfac {
    fn factor_labels(&self) -> FactorLabels {
        FactorLabels::Empirical
    }
}
