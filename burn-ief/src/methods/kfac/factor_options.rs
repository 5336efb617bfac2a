//! The options of the K-FAC family.

use burn::config::Config;

use super::damping::FactorDamping;
use super::options::{FallbackCurvature, WeightSharing};
use crate::error::Error;
use crate::methods::ranges::{at_least_one, at_least_zero, fraction};

/// The recommended bound of the KL clip.
const KL_CLIP: f64 = 0.01;

/// How K-FAC, eKFAC and ieKFAC measure, average and invert their factors.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::kfac::{FactorDamping, FactorOptions};
///
/// let options = FactorOptions::new().with_damping(FactorDamping::relative(10.0));
/// assert!(options.validate().is_ok());
/// assert!(options.with_decay(1.0).validate().is_err());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct FactorOptions {
    /// Damping of the factors, in mean form. The default, 1 times the mean diagonal, is for factors
    /// that are measured every ten steps; wide layers may need up to 10.
    #[config(default = "FactorDamping::default()")]
    pub damping: FactorDamping,
    /// How layers that are applied at several positions are approximated.
    #[config(default = "WeightSharing::Expand")]
    pub sharing: WeightSharing,
    /// Decay of the averages of the factors per measurement; 0 takes those of the batch alone.
    #[config(default = 0.95)]
    pub decay: f64,
    /// Steps from one measurement of the factors to the next.
    #[config(default = 10)]
    pub factor_interval: usize,
    /// Steps from one inversion of the factors to the next.
    #[config(default = 10)]
    pub inverse_interval: usize,
    /// Steps at the start that measure and invert every time. The average of a few batches contains
    /// few directions, and its inverse treats all others as flat and takes huge steps there.
    #[config(default = 10)]
    pub warm_up: usize,
    /// Widest factor; wider layers take the [fallback](Self::fallback).
    #[config(default = 4096)]
    pub max_dimension: usize,
    /// The curvature of parameters without Kronecker factors.
    #[config(default = "FallbackCurvature::Diagonal")]
    pub fallback: FallbackCurvature,
    /// Bound on `½ ΔᵀFΔ` (mean form, for a step size of 1): to second order the mean KL divergence
    /// per sample between the model before and after the step, with Δᵀg in the place of ΔᵀFΔ. Each
    /// block is sized as if it were the only one, so without the bound the combined step is too
    /// long. `None` takes the recommended bound, 0.01; 0 switches it off.
    pub kl_clip: Option<f64>,
}

impl FactorOptions {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        self.damping.validate()?;
        at_least_one("factor_interval", self.factor_interval)?;
        at_least_one("inverse_interval", self.inverse_interval)?;
        at_least_one("max_dimension", self.max_dimension)?;
        fraction("decay", self.decay)?;
        match self.kl_clip {
            Some(bound) => at_least_zero("kl_clip", bound),
            None => Ok(()),
        }
    }

    /// The bound on `½ ΔᵀFΔ`, if there is one.
    pub(super) fn bound(&self) -> Option<f64> {
        let bound = self.kl_clip.unwrap_or(KL_CLIP);
        (bound > 0.0).then_some(bound)
    }

    /// Whether the factors are measured in this step.
    pub(super) fn measures(&self, step: u64) -> bool {
        self.warms_up(step) || step.is_multiple_of(self.factor_interval as u64)
    }

    /// Whether all inverses are made anew in this step.
    pub(super) fn inverts(&self, step: u64) -> bool {
        self.warms_up(step) || step.is_multiple_of(self.inverse_interval as u64)
    }

    fn warms_up(&self, step: u64) -> bool {
        step < self.warm_up as u64
    }
}
