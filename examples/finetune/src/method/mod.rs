//! The optimizers and their options.

mod factors;
mod options;

use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdafactorConfig, AdamWConfig, ModuleOptimizer, SgdConfig};
use burn_ief::{
    EfConfig, EkfacConfig, IefConfig, IekfacConfig, Kfac, KfacConfig, NaturalGradient, SfConfig,
    train,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;

pub use factors::{DampingSplit, FactorOptions, FactorSharing, OtherParameters};
pub use options::{DampingOn, DampingUnit, MethodOptions};

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
    /// K-FAC of the improved empirical Fisher matrix.
    Iekfac,
    /// K-FAC of the empirical Fisher matrix.
    Ekfac,
    /// K-FAC, from drawn labels.
    Kfac,
    /// Plain stochastic gradient descent.
    Sgd,
    /// Adam with decoupled weight decay; without any it is Adam.
    Adamw,
    /// Adafactor at an absolute step size.
    Adafactor,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Ief,
        Self::Ef,
        Self::Sf,
        Self::Iekfac,
        Self::Ekfac,
        Self::Kfac,
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
            Self::Iekfac => "iekfac",
            Self::Ekfac => "ekfac",
            Self::Kfac => "kfac",
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
            Self::Iekfac => "ieKFAC",
            Self::Ekfac => "eKFAC",
            Self::Kfac => "K-FAC",
            Self::Sgd => "SGD",
            Self::Adamw => "AdamW",
            Self::Adafactor => "Adafactor",
        }
    }

    /// Whether it is of `burn_ief`.
    pub fn is_natural(self) -> bool {
        !matches!(self, Self::Sgd | Self::Adamw | Self::Adafactor)
    }

    /// Whether it is of the K-FAC family.
    pub fn is_kronecker(self) -> bool {
        matches!(self, Self::Iekfac | Self::Ekfac | Self::Kfac)
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
    ) -> Result<(ModuleOptimizer, Option<train::Method>), Error> {
        options.check(self)?;
        match self {
            Self::Sgd | Self::Adamw | Self::Adafactor => Ok((self.first_order(options), None)),
            Self::Ief | Self::Ef | Self::Sf => {
                let method = self.exact(options, seed)?;
                Ok((method.optimizer(), Some(method.into())))
            }
            Self::Iekfac | Self::Ekfac | Self::Kfac => {
                let method = self.kronecker(options, seed)?;
                Ok((method.optimizer(), Some(method.into())))
            }
        }
    }

    fn first_order(self, options: &MethodOptions) -> ModuleOptimizer {
        let decay = options.weight_decay as f32;
        match self {
            Self::Adamw => AdamWConfig::new().with_weight_decay(decay).init(),
            Self::Adafactor => AdafactorConfig::new()
                .with_relative_step(false)
                .with_scale_parameter(false)
                .with_weight_decay(decay)
                .init(),
            _ => {
                let decay = (decay > 0.0).then(|| WeightDecayConfig::new(decay));
                SgdConfig::new()
                    .with_momentum(options.momentum())
                    .with_weight_decay(decay)
                    .init()
            }
        }
    }

    fn exact(self, options: &MethodOptions, seed: u64) -> Result<NaturalGradient, Error> {
        let momentum = options.momentum();
        let damping = options.damping();
        let normalize = options.norm();
        let decay = options.weight_decay;
        let method = match self {
            Self::Ef => EfConfig::new()
                .with_damping(damping)
                .with_normalize(normalize)
                .with_weight_decay(decay)
                .with_momentum(momentum)
                .with_solve_momentum(options.solve_momentum)
                .try_build(),
            Self::Sf => SfConfig::new()
                .with_seed(seed)
                .with_damping(damping)
                .with_normalize(normalize)
                .with_weight_decay(decay)
                .with_momentum(momentum)
                .with_solve_momentum(options.solve_momentum)
                .try_build(),
            _ => IefConfig::new()
                .with_damping(damping)
                .with_normalize(normalize)
                .with_weight_decay(decay)
                .with_momentum(momentum)
                .with_solve_momentum(options.solve_momentum)
                .try_build(),
        };
        Ok(method?)
    }

    fn kronecker(self, options: &MethodOptions, seed: u64) -> Result<Kfac, Error> {
        /// The three configurations have the same fields, but are of different types.
        macro_rules! shared {
            ($config:expr) => {{
                let factors = options.factors.clone().unwrap_or_default();
                $config
                    .with_damping(options.factor_damping(&factors))
                    .with_sharing(factors.sharing.into())
                    .with_decay(factors.decay)
                    .with_factor_interval(factors.factor_interval)
                    .with_inverse_interval(factors.inverse_interval)
                    .with_warm_up(factors.warm_up)
                    .with_max_dimension(factors.max_dimension)
                    .with_others(factors.others.into())
                    .with_kl_clip(factors.clip())
                    .with_normalize(options.norm())
                    .with_weight_decay(options.weight_decay)
                    .with_momentum(options.momentum())
            }};
        }
        let method = match self {
            Self::Kfac => {
                let draws = options.factors.as_ref().map_or(1, |factors| factors.draws);
                let config = KfacConfig::new().with_draws(draws).with_seed(seed);
                shared!(config).try_build()
            }
            Self::Ekfac => shared!(EkfacConfig::new()).try_build(),
            _ => shared!(IekfacConfig::new()).try_build(),
        };
        Ok(method?)
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
            let factors = MethodOptions::of(method).factors;
            assert_eq!(factors.is_some(), method.is_kronecker(), "{method:?}");
            assert_eq!(
                serde_json::to_string(&method).unwrap(),
                format!("\"{}\"", method.name())
            );
        }
    }

    #[test]
    fn options_of_older_records_are_read() {
        let text = r#"{"step_size": 0.5, "momentum": 0.9}"#;
        let options: MethodOptions = serde_json::from_str(text).unwrap();
        assert_eq!((options.step_size, options.factors), (0.5, None));
        assert_eq!(options.solve_momentum, 0.0);
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
        let text = refused(Method::Iekfac, |o| o.solve_momentum = 0.9);
        assert!(text.contains("method.iekfac.solve_momentum"), "{text}");
        let text = refused(Method::Sgd, |o| o.factors = Some(FactorOptions::default()));
        assert!(text.contains("method.sgd.factors"), "{text}");
        let factors = |change: fn(&mut FactorOptions)| {
            let mut options = MethodOptions::of(Method::Kfac);
            change(options.factors.as_mut().unwrap());
            Method::Kfac.build(&options, 1).err().unwrap().to_string()
        };
        assert!(factors(|f| f.draws = 0).contains("`draws`"));
        assert!(factors(|f| f.decay = 1.0).contains("`decay`"));
        assert!(factors(|f| f.kl_clip = f64::NAN).contains("`kl_clip`"));
        assert!(factors(|f| f.inverse_interval = 0).contains("`inverse_interval`"));
        assert!(refused(Method::Sf, |o| o.damping = -1.0).contains("damping"));
        assert!(refused(Method::Ef, |o| o.normalize = -1.0).contains("normalize"));
    }
}
