//! K-FAC: factors of the Fisher matrix, from labels drawn from the model.

use burn::config::Config;

use super::factor_options::FactorOptions;
use super::kronecker::Kronecker;
use super::options::FactorLabels;
use super::rule::FactorRule;
use crate::error::Error;
use crate::methods::config::MethodConfig;
use crate::methods::options::StepOptions;
use crate::methods::ranges::at_least_one;
use crate::record::LabelDraw;

/// K-FAC: Kronecker factors of the Fisher matrix, from labels drawn from the model.
///
/// In steps that measure the factors the batch runs `1 + draws` times through the model, in one
/// forward and one backward pass. The model marks its output and its loss, see
/// [`mark_output`](crate::mark_output) and [`mark_loss`](crate::mark_loss).
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::kfac::KfacConfig;
/// use burn_ief::prelude::*;
///
/// assert!(KfacConfig::new().with_seed(7).validate().is_ok());
/// assert!(KfacConfig::new().with_draws(0).validate().is_err());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct KfacConfig {
    /// Labels drawn per sample.
    #[config(default = 1)]
    pub draws: usize,
    /// Seed of the draws.
    #[config(default = 0)]
    pub seed: u64,
    /// How the factors are measured, averaged and inverted.
    #[config(default = "FactorOptions::new()")]
    pub factors: FactorOptions,
    /// What happens to the update.
    #[config(default = "StepOptions::new()")]
    pub step: StepOptions,
}

impl MethodConfig for KfacConfig {
    type Method = Kronecker<Kfac>;

    fn try_build(&self) -> Result<Self::Method, Error> {
        at_least_one("draws", self.draws)?;
        let rule = Kfac {
            draws: self.draws,
            seed: self.seed,
        };
        Kronecker::new(rule, &self.factors, &self.step)
    }
}

/// The member of the family that draws labels from the model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Kfac {
    /// Labels drawn per sample.
    pub draws: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl FactorRule for Kfac {
    fn factor_labels(&self) -> FactorLabels {
        FactorLabels::Sampled
    }

    fn labels(&self, step: u64) -> Option<LabelDraw> {
        Some(LabelDraw::sample(self.draws, self.seed, step))
    }
}
