//! The optimizers and their options.

use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdafactorConfig, AdamWConfig, ModuleOptimizer, SgdConfig};
use burn_ief::update::{Amount, Damping, On};
use burn_ief::{EfConfig, IefConfig, NaturalGradient, SfConfig};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::schedule::Schedule;

/// An optimizer to fine-tune with.
///
/// ```
/// use finetune::method::Method;
///
/// assert_eq!(Method::Ief.name(), "ief");
/// assert!(Method::Sf.is_natural() && !Method::Adamw.is_natural());
/// ```
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    clap::ValueEnum,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Improved empirical Fisher.
    Ief,
    /// Empirical Fisher.
    Ef,
    /// Fisher matrix from drawn labels.
    Sf,
    /// Plain stochastic gradient descent.
    Sgd,
    /// Adam with decoupled weight decay; without any it is Adam.
    Adamw,
    /// Adafactor at an absolute step size.
    Adafactor,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Ief,
        Self::Ef,
        Self::Sf,
        Self::Sgd,
        Self::Adamw,
        Self::Adafactor,
    ];

    /// Its name on the command line and in folders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ief => "ief",
            Self::Ef => "ef",
            Self::Sf => "sf",
            Self::Sgd => "sgd",
            Self::Adamw => "adamw",
            Self::Adafactor => "adafactor",
        }
    }

    /// Its name in tables and pictures.
    pub fn title(self) -> &'static str {
        match self {
            Self::Ief => "iEF",
            Self::Ef => "EF",
            Self::Sf => "SF",
            Self::Sgd => "SGD",
            Self::Adamw => "AdamW",
            Self::Adafactor => "Adafactor",
        }
    }

    /// Whether it is of `burn_ief`.
    pub fn is_natural(self) -> bool {
        matches!(self, Self::Ief | Self::Ef | Self::Sf)
    }

    /// The optimizer, and the natural-gradient method that it belongs to, if any.
    ///
    /// `seed` is that of the drawn labels.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::Method`] for options out of range.
    pub fn build(
        self,
        options: &MethodOptions,
        seed: u64,
    ) -> Result<(ModuleOptimizer, Option<NaturalGradient>), Error> {
        options.check(self)?;
        let momentum = options.momentum();
        let damping = options.damping();
        let normalize = (options.normalize != 0.0).then_some(options.normalize);
        let decay = options.weight_decay;
        let natural = match self {
            Self::Adamw => {
                let config = AdamWConfig::new().with_weight_decay(decay as f32);
                return Ok((config.init(), None));
            }
            Self::Adafactor => {
                let config = AdafactorConfig::new()
                    .with_relative_step(false)
                    .with_scale_parameter(false)
                    .with_weight_decay(decay as f32);
                return Ok((config.init(), None));
            }
            Self::Sgd => {
                let config = SgdConfig::new().with_momentum(momentum);
                let config = config.with_weight_decay(
                    (decay > 0.0).then(|| burn::optim::decay::WeightDecayConfig::new(decay as f32)),
                );
                return Ok((config.init(), None));
            }
            Self::Ief => IefConfig::new()
                .with_damping(damping)
                .with_normalize(normalize)
                .with_weight_decay(decay)
                .with_momentum(momentum)
                .with_solve_momentum(options.solve_momentum)
                .try_build()?,
            Self::Ef => EfConfig::new()
                .with_damping(damping)
                .with_normalize(normalize)
                .with_weight_decay(decay)
                .with_momentum(momentum)
                .with_solve_momentum(options.solve_momentum)
                .try_build()?,
            Self::Sf => SfConfig::new()
                .with_seed(seed)
                .with_damping(damping)
                .with_normalize(normalize)
                .with_weight_decay(decay)
                .with_momentum(momentum)
                .with_solve_momentum(options.solve_momentum)
                .try_build()?,
        };
        Ok((natural.optimizer(), Some(natural)))
    }
}

/// The unit of a damping.
///
/// ```
/// use finetune::method::{DampingUnit, Method, MethodOptions};
///
/// assert_eq!(MethodOptions::of(Method::Ief).damping_unit, DampingUnit::Relative);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DampingUnit {
    /// A fraction of the mean diagonal of the damped matrix.
    Relative,
    /// λ itself, in sum form.
    Absolute,
}

/// Which matrix is damped; EF and SF have one choice only and ignore it.
///
/// ```
/// use finetune::method::{DampingOn, Method, MethodOptions};
///
/// assert_eq!(MethodOptions::of(Method::Ief).damping_on, DampingOn::Fisher);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DampingOn {
    /// The improved Fisher matrix.
    Fisher,
    /// The Gram matrix of the per-sample gradients.
    Gram,
}

/// The hyper-parameters of one method, in sum form.
///
/// ```
/// use finetune::method::{Method, MethodOptions};
///
/// let options = MethodOptions { momentum: 0.9, ..MethodOptions::of(Method::Sgd) };
/// let (_, natural) = Method::Sgd.build(&options, 1)?;
/// assert!(natural.is_none());
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodOptions {
    /// The first step size.
    pub step_size: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// Decoupled weight decay (SGD: added to the gradient, as Burn has it).
    pub weight_decay: f64,
    /// Momentum, 0 for none; SGD and the natural-gradient methods.
    pub momentum: f64,
    /// Momentum inside the solve (SPRING), 0 for none; natural-gradient methods.
    pub solve_momentum: f64,
    /// How much damping; natural-gradient methods.
    pub damping: f64,
    /// Its unit.
    pub damping_unit: DampingUnit,
    /// Its matrix; iEF.
    pub damping_on: DampingOn,
    /// Scale every update to this norm, 0 for not at all; natural-gradient methods.
    pub normalize: f64,
}

impl Default for MethodOptions {
    fn default() -> Self {
        Self::of(Method::Ief)
    }
}

impl MethodOptions {
    /// Values to start from: falling step sizes, damping as `burn_ief` has it, and normalised
    /// updates for EF and SF, as in the paper.
    pub fn of(method: Method) -> Self {
        let (step_size, weight_decay) = match method {
            Method::Ief => (1.0, 0.0),
            Method::Ef | Method::Sf => (0.1, 0.0),
            Method::Sgd => (0.1, 0.0),
            Method::Adamw => (1e-3, 0.01),
            Method::Adafactor => (1e-3, 0.0),
        };
        Self {
            step_size,
            schedule: Schedule::Linear,
            weight_decay,
            momentum: 0.0,
            solve_momentum: 0.0,
            damping: 1e-3,
            damping_unit: DampingUnit::Relative,
            damping_on: DampingOn::Fisher,
            normalize: f64::from(u8::from(matches!(method, Method::Ef | Method::Sf))),
        }
    }

    fn momentum(&self) -> Option<MomentumConfig> {
        let config = MomentumConfig::new().with_momentum(self.momentum);
        // Without dampening, as in PyTorch.
        (self.momentum > 0.0).then(|| config.with_dampening(0.0))
    }

    fn damping(&self) -> Damping {
        let amount = match self.damping_unit {
            DampingUnit::Relative => Amount::Relative(self.damping),
            DampingUnit::Absolute => Amount::Absolute(self.damping),
        };
        let on = match self.damping_on {
            DampingOn::Fisher => On::Fisher,
            DampingOn::Gram => On::Gram,
        };
        Damping {
            amount,
            on,
            floor: true,
        }
    }

    fn check(&self, method: Method) -> Result<(), Error> {
        let refuse = |field: &str, found: f64, expected: &str| {
            let field = format!("method.{}.{field}", method.name());
            Err(Error::config(field, found, expected))
        };
        if !(self.step_size.is_finite() && self.step_size > 0.0) {
            return refuse("step_size", self.step_size, "a finite number above 0");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return refuse("weight_decay", self.weight_decay, "a finite number from 0");
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse("momentum", self.momentum, "at least 0 and below 1");
        }
        if self.momentum > 0.0 && matches!(method, Method::Adamw | Method::Adafactor) {
            let expected = "0: this method has its own";
            return refuse("momentum", self.momentum, expected);
        }
        if self.solve_momentum != 0.0 && !method.is_natural() {
            let expected = "0: this method solves nothing";
            return refuse("solve_momentum", self.solve_momentum, expected);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_builds_from_its_defaults() {
        for method in Method::ALL {
            let (_, natural) = method.build(&MethodOptions::of(method), 1).unwrap();
            assert_eq!(natural.is_some(), method.is_natural(), "{method:?}");
            assert_eq!(
                serde_json::to_string(&method).unwrap(),
                format!("\"{}\"", method.name())
            );
        }
    }

    #[test]
    fn options_out_of_range_are_named() {
        let refused = |method: Method, change: fn(&mut MethodOptions)| {
            let mut options = MethodOptions::of(method);
            change(&mut options);
            let Err(error) = method.build(&options, 1) else {
                panic!("{options:?}");
            };
            error.to_string()
        };
        let text = refused(Method::Ief, |o| o.step_size = 0.0);
        assert!(text.starts_with("`method.ief.step_size` is 0, "), "{text}");
        let text = refused(Method::Adamw, |o| o.momentum = 0.9);
        assert!(text.contains("method.adamw.momentum"), "{text}");
        let text = refused(Method::Sgd, |o| o.solve_momentum = 0.9);
        assert!(text.contains("method.sgd.solve_momentum"), "{text}");
        let text = refused(Method::Ief, |o| o.solve_momentum = 1.0);
        assert!(text.contains("solve"), "{text}");
        assert!(refused(Method::Sf, |o| o.damping = -1.0).contains("damping"));
        assert!(refused(Method::Ef, |o| o.normalize = -1.0).contains("normalize"));
    }
}
