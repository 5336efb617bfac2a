//! The optimizers and their options.

mod factors;
mod options;

use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdafactorConfig, AdamWConfig, ModuleOptimizer, SgdConfig};
use burn_ief::{
    EfConfig, EkfacConfig, IefConfig, IekfacConfig, Kfac, KfacConfig, NaturalGradient, SfConfig,
    train,
};
use programs::optimizer::OptimizerName;

use crate::error::Error;

pub use factors::{DampingSplit, FactorOptions, FactorSharing, OtherParameters};
pub use options::{DampingOn, DampingUnit, MethodOptions};

/// The optimizer, and the natural-gradient method that it belongs to, if any.
///
/// `seed` is that of the drawn labels.
///
/// # Errors
///
/// [`Error::Config`] and [`Error::Method`] for options out of range.
pub fn build(
    name: OptimizerName,
    options: &MethodOptions,
    seed: u64,
) -> Result<(ModuleOptimizer, Option<train::Method>), Error> {
    options.check(name)?;
    if !name.is_natural() {
        return Ok((first_order(name, options), None));
    }
    if is_kronecker(name) {
        let method = kronecker(name, options, seed)?;
        return Ok((method.optimizer(), Some(method.into())));
    }
    let method = exact(name, options, seed)?;
    Ok((method.optimizer(), Some(method.into())))
}

/// Whether it is of the K-FAC family.
pub fn is_kronecker(name: OptimizerName) -> bool {
    name.name().ends_with("kfac")
}

fn first_order(name: OptimizerName, options: &MethodOptions) -> ModuleOptimizer {
    let decay = options.weight_decay as f32;
    match name {
        OptimizerName::ADAMW => AdamWConfig::new().with_weight_decay(decay).init(),
        OptimizerName::ADAFACTOR => AdafactorConfig::new()
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

fn exact(
    name: OptimizerName,
    options: &MethodOptions,
    seed: u64,
) -> Result<NaturalGradient, Error> {
    let momentum = options.momentum();
    let damping = options.damping();
    let normalize = options.norm();
    let decay = options.weight_decay;
    let method = match name.name() {
        "ef" => EfConfig::new()
            .with_damping(damping)
            .with_normalize(normalize)
            .with_weight_decay(decay)
            .with_momentum(momentum)
            .with_solve_momentum(options.solve_momentum)
            .try_build(),
        "sf" => SfConfig::new()
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

fn kronecker(name: OptimizerName, options: &MethodOptions, seed: u64) -> Result<Kfac, Error> {
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
    let method = match name.name() {
        "kfac" => {
            let draws = options.factors.as_ref().map_or(1, |factors| factors.draws);
            let config = KfacConfig::new().with_draws(draws).with_seed(seed);
            shared!(config).try_build()
        }
        "ekfac" => shared!(EkfacConfig::new()).try_build(),
        _ => shared!(IekfacConfig::new()).try_build(),
    };
    Ok(method?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use programs::optimizer::optimizer;

    #[test]
    fn every_method_builds_from_its_defaults() {
        for &method in OptimizerName::all() {
            let (_, natural) = build(method, &MethodOptions::of(method), 1).unwrap();
            assert_eq!(natural.is_some(), method.is_natural(), "{method:?}");
            let factors = MethodOptions::of(method).factors;
            assert_eq!(factors.is_some(), is_kronecker(method), "{method:?}");
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
        let refused = |method: OptimizerName, change: fn(&mut MethodOptions)| {
            let mut options = MethodOptions::of(method);
            change(&mut options);
            let Err(error) = build(method, &options, 1) else {
                panic!("{options:?}");
            };
            error.to_string()
        };
        let text = refused(optimizer("ief"), |o| o.step_size = 0.0);
        assert!(text.starts_with("`method.ief.step_size` is 0, "), "{text}");
        let text = refused(OptimizerName::ADAMW, |o| o.momentum = 0.9);
        assert!(text.contains("method.adamw.momentum"), "{text}");
        let text = refused(OptimizerName::SGD, |o| o.solve_momentum = 0.9);
        assert!(text.contains("method.sgd.solve_momentum"), "{text}");
        let text = refused(optimizer("ief"), |o| o.solve_momentum = 1.0);
        assert!(text.contains("solve"), "{text}");
        let text = refused(optimizer("iekfac"), |o| o.solve_momentum = 0.9);
        assert!(text.contains("method.iekfac.solve_momentum"), "{text}");
        let text = refused(OptimizerName::SGD, |o| {
            o.factors = Some(FactorOptions::default())
        });
        assert!(text.contains("method.sgd.factors"), "{text}");
        let factors = |change: fn(&mut FactorOptions)| {
            let mut options = MethodOptions::of(optimizer("kfac"));
            change(options.factors.as_mut().unwrap());
            build(optimizer("kfac"), &options, 1)
                .err()
                .unwrap()
                .to_string()
        };
        assert!(factors(|f| f.draws = 0).contains("`draws`"));
        assert!(factors(|f| f.decay = 1.0).contains("`decay`"));
        assert!(factors(|f| f.kl_clip = f64::NAN).contains("`kl_clip`"));
        assert!(factors(|f| f.inverse_interval = 0).contains("`inverse_interval`"));
        assert!(refused(optimizer("sf"), |o| o.damping = -1.0).contains("damping"));
        assert!(refused(optimizer("ef"), |o| o.normalize = -1.0).contains("normalize"));
    }
}
