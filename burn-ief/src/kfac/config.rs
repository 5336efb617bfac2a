//! Configurations of the family.

use burn::config::Config;
use burn::module::ParamGroup;
use burn::optim::momentum::MomentumConfig;

use super::method::{Kfac, Settings};
use super::options::{Estimate, KroneckerDamping, Others, Sharing};
use crate::error::Error;

/// Implement the builders that all configurations share.
macro_rules! builders {
    ($config:ident, $name:literal, |$this:ident| $estimate:expr, $draws:expr, $seed:expr) => {
        impl $config {
            /// Check every field.
            ///
            /// # Errors
            ///
            /// [`Error::Config`] naming the first field that is out of range.
            pub fn validate(&self) -> Result<(), Error> {
                self.try_build().map(|_| ())
            }

            #[doc = concat!("Build ", $name, ".")]
            ///
            /// # Errors
            ///
            /// [`Error::Config`] naming the first field that is out of range.
            pub fn try_build(&self) -> Result<Kfac, Error> {
                let $this = self;
                let settings = Settings {
                    estimate: $estimate,
                    draws: $draws,
                    seed: $seed,
                    damping: self.damping,
                    sharing: self.sharing,
                    decay: self.decay,
                    factor_interval: self.factor_interval,
                    inverse_interval: self.inverse_interval,
                    warm_up: self.warm_up,
                    max_dimension: self.max_dimension,
                    others: self.others,
                    group: self.group.clone(),
                    kl_clip: self.kl_clip,
                    normalize: self.normalize,
                    weight_decay: self.weight_decay,
                    momentum: self.momentum.clone(),
                };
                validate(&settings)?;
                Ok(Kfac {
                    settings,
                    state: None,
                })
            }

            #[doc = concat!("Build ", $name, ".")]
            ///
            /// # Panics
            ///
            /// Panics if a field is out of range, see [`validate`](Self::validate).
            pub fn build(&self) -> Kfac {
                match self.try_build() {
                    Ok(method) => method,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
}

/// ieKFAC: Kronecker factors of the improved empirical Fisher matrix, from true labels with the
/// errors of sample n scaled by `s_n^{-1/2}` (eq. 43 of the paper).
///
/// The model marks its output, see [`mark_output`](crate::mark_output). Its update does not change with the scale of the loss.
///
/// ```
/// use burn_ief::IekfacConfig;
/// use burn_ief::kfac::{KroneckerDamping, Sharing};
///
/// let config = IekfacConfig::new()
///     .with_damping(KroneckerDamping::relative(1e-2))
///     .with_sharing(Sharing::Reduce)
///     .with_kl_clip(Some(0.01));
/// let method = config.try_build()?;
/// assert!(config.with_decay(1.0).validate().is_err());
/// # let _ = method;
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct IekfacConfig {
    /// Damping of the factors, in mean form.
    #[config(default = "KroneckerDamping::default()")]
    pub damping: KroneckerDamping,
    /// How layers that are applied at several positions are approximated.
    #[config(default = "Sharing::Expand")]
    pub sharing: Sharing,
    /// Decay of the averages of the factors per measurement; 0 takes those of the batch alone.
    #[config(default = 0.95)]
    pub decay: f64,
    /// Steps from one measurement of the factors to the next.
    #[config(default = 1)]
    pub factor_interval: usize,
    /// Steps from one inversion of the factors to the next.
    #[config(default = 10)]
    pub inverse_interval: usize,
    /// Steps at the start that measure and invert every time: the average of a few batches knows
    /// little about the next one, and an inverse made of it takes what it does not know for flat.
    #[config(default = 10)]
    pub warm_up: usize,
    /// Widest factor; wider layers are treated as [`others`](Self::others).
    #[config(default = 4096)]
    pub max_dimension: usize,
    /// What becomes of parameters without a Kronecker form.
    #[config(default = "Others::Diagonal")]
    pub others: Others,
    /// Limit the method to these parameters; all others keep their plain gradient.
    pub group: Option<ParamGroup>,
    /// Bound `½ ΔᵀFΔ` (mean form, for a step size of 1), to second order the mean KL divergence per
    /// sample between the model before and after the step; Δᵀg stands for ΔᵀFΔ. Every block of the
    /// matrix takes the whole step by itself, so that all of them together overshoot without it.
    #[config(default = "Some(0.01)")]
    pub kl_clip: Option<f64>,
    /// Scale every update to this Euclidean norm over all parameters.
    pub normalize: Option<f64>,
    /// Decoupled weight decay, as in AdamW.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Momentum on the update.
    pub momentum: Option<MomentumConfig>,
}

builders!(IekfacConfig, "ieKFAC", |_config| Estimate::Improved, 1, 0);

/// eKFAC: Kronecker factors of the empirical Fisher matrix, from true labels.
///
/// The paper's name for it; not the eigenvalue-corrected K-FAC that is also called EKFAC.
/// Like EF it lowers every loss by the same amount, fitted or not: pair it with
/// [`normalize`](Self::normalize) and a step size that falls to zero.
///
/// ```
/// use burn_ief::EkfacConfig;
///
/// let method = EkfacConfig::new().with_normalize(Some(1.0)).build();
/// # let _ = method;
/// ```
#[derive(Config, Debug)]
pub struct EkfacConfig {
    /// Damping of the factors, in mean form.
    #[config(default = "KroneckerDamping::default()")]
    pub damping: KroneckerDamping,
    /// How layers that are applied at several positions are approximated.
    #[config(default = "Sharing::Expand")]
    pub sharing: Sharing,
    /// Decay of the averages of the factors per measurement; 0 takes those of the batch alone.
    #[config(default = 0.95)]
    pub decay: f64,
    /// Steps from one measurement of the factors to the next.
    #[config(default = 1)]
    pub factor_interval: usize,
    /// Steps from one inversion of the factors to the next.
    #[config(default = 10)]
    pub inverse_interval: usize,
    /// Steps at the start that measure and invert every time: the average of a few batches knows
    /// little about the next one, and an inverse made of it takes what it does not know for flat.
    #[config(default = 10)]
    pub warm_up: usize,
    /// Widest factor; wider layers are treated as [`others`](Self::others).
    #[config(default = 4096)]
    pub max_dimension: usize,
    /// What becomes of parameters without a Kronecker form.
    #[config(default = "Others::Diagonal")]
    pub others: Others,
    /// Limit the method to these parameters; all others keep their plain gradient.
    pub group: Option<ParamGroup>,
    /// Bound `½ ΔᵀFΔ` (mean form, for a step size of 1); Δᵀg stands for ΔᵀFΔ.
    #[config(default = "Some(0.01)")]
    pub kl_clip: Option<f64>,
    /// Scale every update to this Euclidean norm over all parameters.
    pub normalize: Option<f64>,
    /// Decoupled weight decay, as in AdamW.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Momentum on the update.
    pub momentum: Option<MomentumConfig>,
}

builders!(EkfacConfig, "eKFAC", |_config| Estimate::Empirical, 1, 0);

/// K-FAC: Kronecker factors of the Fisher matrix, from labels drawn from the model.
///
/// In steps that measure the factors the batch runs `1 + draws` times through the model, in one
/// forward and one backward pass. The model marks its output and its loss, see
/// [`mark_output`](crate::mark_output) and [`mark_loss`](crate::mark_loss).
///
/// ```
/// use burn_ief::KfacConfig;
///
/// let method = KfacConfig::new().with_factor_interval(10).with_seed(7).build();
/// # let _ = method;
/// ```
#[derive(Config, Debug)]
pub struct KfacConfig {
    /// Labels drawn per sample.
    #[config(default = 1)]
    pub draws: usize,
    /// Seed of the draws.
    #[config(default = 0)]
    pub seed: u64,
    /// Damping of the factors, in mean form.
    #[config(default = "KroneckerDamping::default()")]
    pub damping: KroneckerDamping,
    /// How layers that are applied at several positions are approximated.
    #[config(default = "Sharing::Expand")]
    pub sharing: Sharing,
    /// Decay of the averages of the factors per measurement; 0 takes those of the batch alone.
    #[config(default = 0.95)]
    pub decay: f64,
    /// Steps from one measurement of the factors to the next.
    #[config(default = 1)]
    pub factor_interval: usize,
    /// Steps from one inversion of the factors to the next.
    #[config(default = 10)]
    pub inverse_interval: usize,
    /// Steps at the start that measure and invert every time: the average of a few batches knows
    /// little about the next one, and an inverse made of it takes what it does not know for flat.
    #[config(default = 10)]
    pub warm_up: usize,
    /// Widest factor; wider layers are treated as [`others`](Self::others).
    #[config(default = 4096)]
    pub max_dimension: usize,
    /// What becomes of parameters without a Kronecker form.
    #[config(default = "Others::Diagonal")]
    pub others: Others,
    /// Limit the method to these parameters; all others keep their plain gradient.
    pub group: Option<ParamGroup>,
    /// Bound `½ ΔᵀFΔ` (mean form, for a step size of 1); Δᵀg stands for ΔᵀFΔ.
    #[config(default = "Some(0.01)")]
    pub kl_clip: Option<f64>,
    /// Scale every update to this Euclidean norm over all parameters.
    pub normalize: Option<f64>,
    /// Decoupled weight decay, as in AdamW.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Momentum on the update.
    pub momentum: Option<MomentumConfig>,
}

builders!(
    KfacConfig,
    "K-FAC",
    |config| Estimate::Sampled,
    config.draws,
    config.seed
);

fn validate(settings: &Settings) -> Result<(), Error> {
    settings.damping.validate()?;
    let refuse = |field, value: String, expected| {
        Err(Error::Config {
            field,
            value,
            expected,
        })
    };
    for (field, count) in [
        ("draws", settings.draws),
        ("factor_interval", settings.factor_interval),
        ("inverse_interval", settings.inverse_interval),
        ("max_dimension", settings.max_dimension),
    ] {
        if count == 0 {
            return refuse(field, "0".into(), "at least 1");
        }
    }
    for (field, value) in [
        ("kl_clip", settings.kl_clip),
        ("normalize", settings.normalize),
    ] {
        if let Some(value) = value
            && !(value.is_finite() && value > 0.0)
        {
            return refuse(field, value.to_string(), "a finite number above 0");
        }
    }
    if !(0.0..1.0).contains(&settings.decay) {
        return refuse(
            "decay",
            settings.decay.to_string(),
            "at least 0 and below 1",
        );
    }
    let weight_decay = settings.weight_decay;
    if !(weight_decay.is_finite() && weight_decay >= 0.0) {
        return refuse(
            "weight_decay",
            weight_decay.to_string(),
            "a finite number of at least 0",
        );
    }
    if let Some(momentum) = &settings.momentum
        && !(0.0..1.0).contains(&momentum.momentum)
    {
        return refuse(
            "momentum",
            momentum.momentum.to_string(),
            "at least 0 and below 1",
        );
    }
    Ok(())
}
