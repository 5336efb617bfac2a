//! Configurations of the optimizers.

use burn::config::Config;
use burn::module::ParamGroup;
use burn::optim::momentum::MomentumConfig;

use super::method::{NaturalGradient, Rule};
use crate::error::Error;
use crate::jacobian::GramPrecision;
use crate::update::Damping;

/// Implement the builders that all configurations share, for a rule made from the configuration.
macro_rules! builders {
    ($config:ident, $name:literal, |$this:ident| $rule:expr) => {
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
            pub fn try_build(&self) -> Result<NaturalGradient, Error> {
                let $this = self;
                let rule: Rule = $rule;
                let method = NaturalGradient {
                    rule,
                    damping: self.damping,
                    precision: self.precision,
                    group: self.group.clone(),
                    normalize: self.normalize,
                    trust_region: self.trust_region,
                    weight_decay: self.weight_decay,
                    momentum: self.momentum.clone(),
                    solve_momentum: self.solve_momentum,
                    steps: Default::default(),
                };
                method.validate()?;
                Ok(method)
            }

            #[doc = concat!("Build ", $name, ".")]
            ///
            /// # Panics
            ///
            /// Panics if a field is out of range, see [`validate`](Self::validate).
            pub fn build(&self) -> NaturalGradient {
                match self.try_build() {
                    Ok(method) => method,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
}

/// Improved empirical Fisher (iEF), `Δ = Jᵀ (K + λ diag(s))⁻¹ s`; see [`ief`](crate::update::ief).
///
/// The natural step size is about 1, whatever the task, the loss scale or the batch size.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::IefConfig;
/// use burn_ief::update::{Damping, On};
///
/// let config = IefConfig::new()
///     .with_damping(Damping::absolute(4e-4).on(On::Gram))
///     .with_weight_decay(0.01);
/// let method = config.try_build()?;
/// assert!(config.with_weight_decay(-1.0).validate().is_err());
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct IefConfig {
    /// Damping, in sum form.
    #[config(default = "Damping::default()")]
    pub damping: Damping,
    /// Precision of the Gram matrix.
    #[config(default = "GramPrecision::Auto")]
    pub precision: GramPrecision,
    /// Limit the natural gradient to these parameters; all others keep their plain gradient.
    pub group: Option<ParamGroup>,
    /// Drop, of any pair of rows with |cos| above this, the shorter one (the original code: 0.99).
    pub cosine_filter: Option<f64>,
    /// Scale every update to this Euclidean norm over all parameters.
    pub normalize: Option<f64>,
    /// Bound ½ ΔᵀF̃Δ, in sum form and for a step size of 1.
    pub trust_region: Option<f64>,
    /// Decoupled weight decay, as in AdamW.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Burn's momentum on the natural gradient, in the optimizer.
    pub momentum: Option<MomentumConfig>,
    /// Momentum μ in the solve (SPRING), 0 ≤ μ < 1; 0 keeps no state. See
    /// [momentum in the solve](crate::update#momentum-in-the-solve) and
    /// [`gradients_with`](NaturalGradient::gradients_with).
    #[config(default = 0.0)]
    pub solve_momentum: f64,
}

builders!(IefConfig, "iEF", |config| Rule::Ief {
    cosine_filter: config.cosine_filter
});

/// Empirical Fisher (EF), `Δ = Jᵀ (K + λI)⁻¹ 1`; see [`ef`](crate::update::ef).
///
/// Every sample's loss falls by the same amount, fitted or not (the inversely-scaled projection
/// issue, sec. 4 of the paper), so the paper runs it with normalised updates and a step size that
/// falls to zero.
///
/// ```
/// use burn_ief::EfConfig;
///
/// let method = EfConfig::new().with_normalize(Some(1.0)).build();
/// # let _ = method;
/// ```
#[derive(Config, Debug)]
pub struct EfConfig {
    /// Damping, in sum form.
    #[config(default = "Damping::default()")]
    pub damping: Damping,
    /// Precision of the Gram matrix.
    #[config(default = "GramPrecision::Auto")]
    pub precision: GramPrecision,
    /// Limit the natural gradient to these parameters; all others keep their plain gradient.
    pub group: Option<ParamGroup>,
    /// Drop, of any pair of rows with |cos| above this, the shorter one.
    pub cosine_filter: Option<f64>,
    /// Scale every update to this Euclidean norm over all parameters.
    pub normalize: Option<f64>,
    /// Bound ½ ΔᵀF̃Δ, in sum form and for a step size of 1.
    pub trust_region: Option<f64>,
    /// Decoupled weight decay, as in AdamW.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Burn's momentum on the natural gradient, in the optimizer.
    pub momentum: Option<MomentumConfig>,
    /// Momentum μ in the solve (SPRING), 0 ≤ μ < 1; 0 keeps no state. See
    /// [momentum in the solve](crate::update#momentum-in-the-solve) and
    /// [`gradients_with`](NaturalGradient::gradients_with).
    #[config(default = 0.0)]
    pub solve_momentum: f64,
}

builders!(EfConfig, "EF", |config| Rule::Ef {
    cosine_filter: config.cosine_filter
});

/// Fisher matrix from drawn labels (SF), `Δ = (ĴᵀĴ + λI)⁻¹ g`; see [`sf`](crate::update::sf).
///
/// The batch runs `1 + draws` times through the model, once with the true labels and with drawn
/// ones besides, in one forward and one backward pass. The model marks its output and its loss,
/// see [`mark_output`](crate::mark_output) and [`mark_loss`](crate::mark_loss).
///
/// ```
/// use burn_ief::SfConfig;
///
/// let method = SfConfig::new().with_draws(2).with_seed(7).build();
/// # let _ = method;
/// ```
#[derive(Config, Debug)]
pub struct SfConfig {
    /// Labels drawn per sample.
    #[config(default = 1)]
    pub draws: usize,
    /// Seed of the draws.
    #[config(default = 0)]
    pub seed: u64,
    /// Damping, in sum form.
    #[config(default = "Damping::default()")]
    pub damping: Damping,
    /// Precision of the Gram matrix.
    #[config(default = "GramPrecision::Auto")]
    pub precision: GramPrecision,
    /// Limit the natural gradient to these parameters; all others keep their plain gradient.
    pub group: Option<ParamGroup>,
    /// Scale every update to this Euclidean norm over all parameters.
    pub normalize: Option<f64>,
    /// Bound ½ ΔᵀF̃Δ, in sum form and for a step size of 1.
    pub trust_region: Option<f64>,
    /// Decoupled weight decay, as in AdamW.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Burn's momentum on the natural gradient, in the optimizer.
    pub momentum: Option<MomentumConfig>,
    /// Momentum μ in the solve (SPRING), 0 ≤ μ < 1; 0 keeps no state. See
    /// [momentum in the solve](crate::update#momentum-in-the-solve) and
    /// [`gradients_with`](NaturalGradient::gradients_with).
    #[config(default = 0.0)]
    pub solve_momentum: f64,
}

builders!(SfConfig, "SF", |config| Rule::Sf {
    draws: config.draws,
    seed: config.seed
});

/// Exact natural gradient, `Δ = (F + λI)⁻¹ g`, for small models with few classes.
///
/// The batch runs `1 + classes` times through the model.
///
/// ```
/// use burn_ief::NgdConfig;
///
/// let method = NgdConfig::new(10).build();
/// # let _ = method;
/// ```
#[derive(Config, Debug)]
pub struct NgdConfig {
    /// Number of classes (or output dimensions of a Gaussian) of the marked output.
    pub classes: usize,
    /// Damping, in sum form.
    #[config(default = "Damping::default()")]
    pub damping: Damping,
    /// Precision of the Gram matrix.
    #[config(default = "GramPrecision::Auto")]
    pub precision: GramPrecision,
    /// Limit the natural gradient to these parameters; all others keep their plain gradient.
    pub group: Option<ParamGroup>,
    /// Scale every update to this Euclidean norm over all parameters.
    pub normalize: Option<f64>,
    /// Bound ½ ΔᵀFΔ, in sum form and for a step size of 1.
    pub trust_region: Option<f64>,
    /// Decoupled weight decay, as in AdamW.
    #[config(default = 0.0)]
    pub weight_decay: f64,
    /// Burn's momentum on the natural gradient, in the optimizer.
    pub momentum: Option<MomentumConfig>,
    /// Momentum μ in the solve (SPRING), 0 ≤ μ < 1; 0 keeps no state. See
    /// [momentum in the solve](crate::update#momentum-in-the-solve) and
    /// [`gradients_with`](NaturalGradient::gradients_with).
    #[config(default = 0.0)]
    pub solve_momentum: f64,
}

builders!(NgdConfig, "the exact natural gradient", |config| {
    Rule::Ngd {
        classes: config.classes,
    }
});
