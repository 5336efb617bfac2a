//! The settings of a method in a run: its optimizer, step size and schedule.

use std::collections::BTreeMap;

use programs::optimizer::{OptimizerConfig, OptimizerName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::schedule::{Decay, Schedule};

/// The fields that are not the optimizer's.
const STEP_SIZE: &str = "step_size";
const SCHEDULE: &str = "schedule";

/// The settings of one method, in sum form.
///
/// ```
/// use finetune::method_options::MethodOptions;
/// use programs::optimizer::optimizer;
///
/// let mut options = MethodOptions::of(optimizer("iekfac"));
/// if let Some(factors) = options.optimizer.factors_mut() {
///     factors.factor_interval = 5;
/// }
/// options.check(optimizer("iekfac"))?;
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct MethodOptions {
    /// The first step size.
    pub step_size: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// The settings of the optimizer; files have its fields next to the two others.
    pub optimizer: OptimizerConfig,
}

impl MethodOptions {
    /// Values to start from: a falling step size, and the recommended settings of the optimizer.
    pub fn of(method: OptimizerName) -> Self {
        let (step_size, decay) = match method.name() {
            "ief" => (1.0, Decay::Stable),
            "ef" | "sf" | "sgd" => (0.1, Decay::Linear),
            "adamw" | "adafactor" | "muon" => (1e-3, Decay::Linear),
            _ => (0.3, Decay::Linear),
        };
        Self {
            step_size,
            schedule: decay.into(),
            optimizer: OptimizerConfig::new(method),
        }
    }

    /// Check what can be checked without a model.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::Method`] naming the first setting that is out of range.
    pub fn check(&self, method: OptimizerName) -> Result<(), Error> {
        if !(self.step_size.is_finite() && self.step_size > 0.0) {
            let field = format!("method.{method}.{STEP_SIZE}");
            let expected = "a finite number above 0";
            return Err(Error::config(field, self.step_size, expected));
        }
        let mut optimizer = self.optimizer.clone();
        let decay = match &mut optimizer {
            OptimizerConfig::Sgd(options) => options.weight_decay,
            OptimizerConfig::AdamW(options) => options.weight_decay,
            OptimizerConfig::Adafactor(options) => options.weight_decay,
            OptimizerConfig::Muon(options) => options.weight_decay,
            natural => natural.step_mut().map_or(0.0, |step| step.weight_decay),
        };
        // Burn keeps it as a 32-bit float, and panics where that is not finite.
        if !((decay as f32).is_finite() && decay >= 0.0) {
            let field = format!("method.{method}.weight_decay");
            let expected = "at least 0 and a finite 32-bit float";
            return Err(Error::config(field, decay, expected));
        }
        if let OptimizerConfig::AdamW(options) = &self.optimizer
            && let Some((name, found, expected)) = options.out_of_range()
        {
            let field = format!("method.{method}.{name}");
            return Err(Error::config(field, found, expected));
        }
        let momentum = match &self.optimizer {
            OptimizerConfig::Sgd(options) => options.momentum,
            OptimizerConfig::Muon(options) => options.momentum,
            _ => 0.0,
        };
        match &self.optimizer {
            OptimizerConfig::Sgd(_) | OptimizerConfig::Muon(_)
                if !(0.0..1.0).contains(&momentum) =>
            {
                let field = format!("method.{method}.momentum");
                Err(Error::config(field, momentum, "at least 0 and below 1"))
            }
            // Methods that need the number of classes get it from the data.
            optimizer => {
                optimizer.clone().with_classes(1).for_learner()?;
                Ok(())
            }
        }
    }

    /// As the fields of a configuration file.
    pub fn to_fields(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert(STEP_SIZE.into(), self.step_size.into());
        fields.insert(SCHEDULE.into(), self.schedule.to_string().into());
        fields.extend(self.optimizer.to_fields());
        fields
    }

    fn from_fields(method: OptimizerName, mut fields: Map<String, Value>) -> Result<Self, String> {
        fn take<T: serde::de::DeserializeOwned>(
            fields: &mut Map<String, Value>,
            name: &str,
            default: T,
        ) -> Result<T, String> {
            let field = fields.remove(name).map(serde_json::from_value);
            let value = field.unwrap_or(Ok(default));
            value.map_err(|error| format!("{name}: {error}"))
        }
        let default = Self::of(method);
        Ok(Self {
            step_size: take(&mut fields, STEP_SIZE, default.step_size)?,
            schedule: take(&mut fields, SCHEDULE, default.schedule)?,
            optimizer: OptimizerConfig::from_fields(method, fields)?,
        })
    }
}

impl Serialize for MethodOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_fields().serialize(serializer)
    }
}

/// Read the settings of methods: which fields there are depends on the method.
pub(crate) fn by_method<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<OptimizerName, MethodOptions>, D::Error> {
    use serde::de::Error;

    let all = BTreeMap::<OptimizerName, Map<String, Value>>::deserialize(deserializer)?;
    let options = all.into_iter().map(|(method, fields)| {
        let options = MethodOptions::from_fields(method, fields);
        let options =
            options.map_err(|error| D::Error::custom(format!("method.{method}: {error}")));
        Ok((method, options?))
    });
    options.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn_ief::solve::DampingAmount;
    use programs::optimizer::optimizer;

    #[test]
    fn every_method_has_settings_that_fit() {
        for &method in OptimizerName::all() {
            let options = MethodOptions::of(method);
            options.check(method).unwrap();
            let read = MethodOptions::from_fields(method, options.to_fields());
            assert_eq!(read, Ok(options));
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let refused = |name: &str, change: fn(&mut MethodOptions)| {
            let method = optimizer(name);
            let mut options = MethodOptions::of(method);
            change(&mut options);
            match options.check(method) {
                Err(error) => error.to_string(),
                Ok(()) => panic!("{options:?}"),
            }
        };
        let text = refused("ief", |o| o.step_size = 0.0);
        assert!(text.starts_with("`method.ief.step_size` is 0, "), "{text}");
        let momentum = |o: &mut MethodOptions| assert!(o.optimizer.set_momentum(1.0));
        assert!(refused("sgd", momentum).contains("method.sgd.momentum"));
        assert!(refused("kfac", momentum).contains("momentum"));
        for name in ["sgd", "adamw", "adafactor", "muon", "ief"] {
            for decay in [1e39, -1.0, f64::NAN, f64::INFINITY] {
                let method = optimizer(name);
                let mut options = MethodOptions::of(method);
                assert!(options.optimizer.set_weight_decay(decay));
                let text = options.check(method).unwrap_err().to_string();
                assert!(text.contains("weight_decay"), "{text}");
            }
        }
        let text = refused("ief", |o| {
            o.optimizer.solve_mut().unwrap().momentum = Some(1.0)
        });
        assert!(text.contains("solve.momentum"), "{text}");
        let text = refused("kfac", |o| assert!(o.optimizer.set_factor_draws(0)));
        assert!(text.contains("`draws`"), "{text}");
        let text = refused("ekfac", |o| o.optimizer.factors_mut().unwrap().decay = 1.0);
        assert!(text.contains("`decay`"), "{text}");
        let text = refused("sf", |o| {
            *o.optimizer.damping_mut().unwrap() = DampingAmount::Relative(-1.0);
        });
        assert!(text.contains("damping"), "{text}");
        let text = refused("ef", |o| {
            o.optimizer.step_mut().unwrap().normalize = Some(-1.0)
        });
        assert!(text.contains("normalize"), "{text}");
    }
}
