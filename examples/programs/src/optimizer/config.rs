//! The settings of an optimizer that is chosen by name.

use burn::module::Module;
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdafactorConfig, ModuleOptimizer, SgdConfig};
use burn_ief::methods::{AnyConfig, AnyMethod};
use burn_ief::prelude::*;
use burn_ief::solve::{Damping, DampingAmount};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::adamw::AdamWOptions;
use super::any::AnyOptimizer;
use super::muon::MuonOptions;
use super::name::OptimizerName;

/// The field of a serialised [`AnyConfig`] that holds its name.
const TAG: &str = "method";

/// The settings of any optimizer. Those of natural-gradient methods are the library's.
///
/// ```
/// use programs::optimizer::{OptimizerConfig, optimizer};
///
/// let mut config = OptimizerConfig::new(optimizer("ief"));
/// assert!(config.set_weight_decay(0.01) && config.solve_mut().is_some());
/// let fields = config.to_fields();
/// assert_eq!(OptimizerConfig::from_fields(optimizer("ief"), fields), Ok(config));
/// ```
#[derive(Debug, Clone)]
pub enum OptimizerConfig {
    /// Plain stochastic gradient descent.
    Sgd(SgdOptions),
    /// Adam with decoupled weight decay; without any it is Adam.
    AdamW(AdamWOptions),
    /// Adafactor at an absolute step size.
    Adafactor(DecayOptions),
    /// Muon for matrices, AdamW for everything else.
    Muon(MuonOptions),
    /// A natural-gradient method.
    Natural(AnyConfig),
}

/// The options of SGD.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdOptions {
    /// Weight decay, added to the gradient as Burn does.
    pub weight_decay: f64,
    /// Momentum without dampening, as in PyTorch; 0 for none.
    pub momentum: f64,
}

/// The options of Adafactor.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecayOptions {
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl OptimizerConfig {
    /// The recommended settings.
    pub fn new(name: OptimizerName) -> Self {
        match name {
            OptimizerName::SGD => Self::Sgd(SgdOptions::default()),
            OptimizerName::ADAMW => Self::AdamW(AdamWOptions::default()),
            OptimizerName::ADAFACTOR => Self::Adafactor(DecayOptions::default()),
            OptimizerName::MUON => Self::Muon(MuonOptions::default()),
            natural => Self::Natural(natural.natural().resolved()),
        }
    }

    /// The fields, as configuration files have them; options that are not set are left out.
    pub fn to_fields(&self) -> Map<String, Value> {
        let value = match self {
            Self::Sgd(options) => serde_json::to_value(options),
            Self::AdamW(options) => serde_json::to_value(options),
            Self::Adafactor(options) => serde_json::to_value(options),
            Self::Muon(options) => serde_json::to_value(options),
            Self::Natural(config) => serde_json::to_value(config),
        };
        match value.map(without_nulls) {
            Ok(Value::Object(mut fields)) => {
                fields.remove(TAG);
                fields
            }
            // A struct is an object.
            _ => Map::new(),
        }
    }

    /// From fields.
    ///
    /// # Errors
    ///
    /// Names the first field that the optimizer does not have, or whose value does not fit.
    pub fn from_fields(name: OptimizerName, fields: Map<String, Value>) -> Result<Self, String> {
        fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, String> {
            serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())
        }
        Ok(match name {
            OptimizerName::SGD => Self::Sgd(read(fields)?),
            OptimizerName::ADAMW => Self::AdamW(read(fields)?),
            OptimizerName::ADAFACTOR => Self::Adafactor(read(fields)?),
            OptimizerName::MUON => Self::Muon(read(fields)?),
            _ => {
                let mut all = Value::Object(Self::new(name).to_fields());
                merge(&mut all, Value::Object(fields));
                if let Value::Object(all) = &mut all {
                    all.insert(TAG.into(), name.name().into());
                }
                Self::Natural(serde_json::from_value(all).map_err(|error| error.to_string())?)
            }
        })
    }

    /// Set the weight decay. Returns whether the optimizer has one.
    pub fn set_weight_decay(&mut self, weight_decay: f64) -> bool {
        match self {
            Self::Sgd(options) => options.weight_decay = weight_decay,
            Self::AdamW(options) => options.weight_decay = weight_decay,
            Self::Adafactor(options) => options.weight_decay = weight_decay,
            Self::Muon(options) => options.weight_decay = weight_decay,
            Self::Natural(config) => config.step_mut().weight_decay = weight_decay,
        }
        true
    }

    /// Set the momentum of the updates, without dampening as in PyTorch, 0 for none (of Muon, Nesterov's). Returns whether
    /// the optimizer has one.
    pub fn set_momentum(&mut self, momentum: f64) -> bool {
        match self {
            Self::Sgd(options) => options.momentum = momentum,
            Self::Muon(options) => options.momentum = momentum,
            Self::AdamW(_) | Self::Adafactor(_) => return false,
            Self::Natural(config) => config.step_mut().momentum = undampened(momentum),
        }
        true
    }

    /// What happens to the update of a natural-gradient method.
    pub fn step_mut(&mut self) -> Option<&mut StepOptions> {
        self.natural_mut().map(AnyConfig::step_mut)
    }

    /// How the system of an exact method is solved.
    pub fn solve_mut(&mut self) -> Option<&mut SolveOptions> {
        self.natural_mut().and_then(AnyConfig::solve_mut)
    }

    /// The options of the Kronecker factors.
    pub fn factors_mut(&mut self) -> Option<&mut FactorOptions> {
        self.natural_mut().and_then(AnyConfig::factors_mut)
    }

    /// How much a natural-gradient method is damped.
    pub fn damping_mut(&mut self) -> Option<&mut DampingAmount> {
        let config = self.natural_mut()?;
        if config.solve_mut().is_some() {
            let solve = config.solve_mut();
            solve.map(|solve| &mut solve.damping.get_or_insert_with(Damping::default).amount)
        } else {
            let factors = config.factors_mut();
            factors.map(|factors| &mut factors.damping.amount)
        }
    }

    /// Set the labels that K-FAC draws per sample. Returns whether it is K-FAC.
    pub fn set_factor_draws(&mut self, draws: usize) -> bool {
        match self {
            Self::Natural(AnyConfig::Kfac(config)) => {
                config.draws = draws;
                true
            }
            _ => false,
        }
    }

    /// With this seed of the drawn labels, for methods that draw some.
    pub fn with_seed(mut self, seed: u64) -> Self {
        match &mut self {
            Self::Natural(AnyConfig::Sf(config)) => config.seed = seed,
            Self::Natural(AnyConfig::Kfac(config)) => config.seed = seed,
            _ => {}
        }
        self
    }

    /// For an output of this many classes, where the method has to know them.
    pub fn with_classes(mut self, classes: usize) -> Self {
        if let Self::Natural(AnyConfig::Ngd(config)) = &mut self {
            config.classes = classes;
        }
        self
    }

    /// The optimizer of a model, for a plain loop.
    ///
    /// # Errors
    ///
    /// [`burn_ief::Error::Config`] naming the first field that is out of range.
    pub fn init<M: Module>(&self, model: &M) -> Result<AnyOptimizer, burn_ief::Error> {
        Ok(match self {
            Self::Natural(config) => config.try_init(model)?.into(),
            other => other.first_order().into(),
        })
    }

    /// The optimizer for a learner, and the method that its model is wrapped with, if any.
    ///
    /// # Errors
    ///
    /// [`burn_ief::Error::Config`] naming the first field that is out of range.
    pub fn for_learner(&self) -> Result<(ModuleOptimizer, Option<AnyMethod>), burn_ief::Error> {
        Ok(match self {
            Self::Natural(config) => {
                let method = config.try_build()?;
                (method.optimizer(), Some(method))
            }
            other => (other.first_order(), None),
        })
    }

    fn natural_mut(&mut self) -> Option<&mut AnyConfig> {
        match self {
            Self::Natural(config) => Some(config),
            _ => None,
        }
    }

    /// An optimizer of Burn.
    fn first_order(&self) -> ModuleOptimizer {
        match self {
            Self::AdamW(options) => options.config().init(),
            Self::Adafactor(options) => AdafactorConfig::new()
                .with_relative_step(false)
                .with_scale_parameter(false)
                .with_weight_decay(options.weight_decay as f32)
                .init(),
            Self::Sgd(options) => {
                let decay = options.weight_decay;
                SgdConfig::new()
                    .with_momentum(undampened(options.momentum))
                    .with_weight_decay((decay > 0.0).then(|| WeightDecayConfig::new(decay as f32)))
                    .init()
            }
            Self::Muon(options) => options.optimizer(),
            Self::Natural(_) => SgdConfig::new().init(),
        }
    }
}

impl PartialEq for OptimizerConfig {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.to_fields() == other.to_fields()
    }
}

fn undampened(momentum: f64) -> Option<MomentumConfig> {
    let config = MomentumConfig::new().with_momentum(momentum);
    (momentum != 0.0).then(|| config.with_dampening(0.0))
}

/// Options that are not set, as absent fields: TOML has no null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            fields
                .map(|(name, value)| (name, without_nulls(value)))
                .collect()
        }
        other => other,
    }
}

/// Put the fields of `over` over those of `value`, section by section.
///
/// A section of one field, put over one of another field, replaces it: it is a choice, such as
/// `{"absolute": 1.0}` over `{"relative": 0.001}`.
pub fn merge(value: &mut Value, over: Value) {
    match (value, over) {
        (Value::Object(value), Value::Object(over)) => {
            if value.len() == 1
                && over.len() == 1
                && !over.keys().all(|key| value.contains_key(key))
            {
                *value = over;
                return;
            }
            for (key, field) in over {
                merge(value.entry(key).or_insert(Value::Null), field);
            }
        }
        (value, over) => *value = over,
    }
}

#[cfg(test)]
mod tests {
    use super::super::optimizer;
    use super::*;

    #[test]
    fn every_optimizer_builds_and_reads_back() {
        for &name in OptimizerName::all() {
            let config = OptimizerConfig::new(name).with_classes(3).with_seed(7);
            let (_, natural) = config.for_learner().unwrap();
            assert_eq!(natural.is_some(), name.is_natural(), "{name}");
            let read = OptimizerConfig::from_fields(name, config.to_fields());
            assert_eq!(read, Ok(config), "{name}");
        }
    }

    #[test]
    fn fields_go_over_the_recommended_settings() {
        let fields = serde_json::json!({"solve": {"damping": {"amount": {"absolute": 2.0}}}});
        let Value::Object(fields) = fields else {
            unreachable!()
        };
        let mut config = OptimizerConfig::from_fields(optimizer("ief"), fields).unwrap();
        assert_eq!(
            config.damping_mut(),
            Some(&mut DampingAmount::Absolute(2.0))
        );
        let recommended = OptimizerConfig::new(optimizer("ief")).to_fields();
        assert_eq!(config.to_fields()["step"], recommended["step"]);
    }

    #[test]
    fn fields_that_nobody_knows_are_named() {
        let refused = |name: &str, fields: Value| {
            let fields = fields.as_object().unwrap().clone();
            OptimizerConfig::from_fields(optimizer(name), fields).unwrap_err()
        };
        let text = refused("ief", serde_json::json!({"solve": {"dampening": 1.0}}));
        assert!(
            text.contains("unknown field `solve.dampening`, expected one of `"),
            "{text}"
        );
        assert!(refused("sgd", serde_json::json!({"solve": {}})).contains("unknown field `solve`"));
        assert!(refused("kfac", serde_json::json!({"factors": 1})).contains("invalid type"));
    }

    #[test]
    fn options_that_an_optimizer_does_not_have_are_reported() {
        let config = |name| OptimizerConfig::new(optimizer(name));
        assert!(!config("adamw").set_momentum(0.9));
        assert!(config("sgd").damping_mut().is_none());
        assert!(config("iekfac").solve_mut().is_none() && config("ief").factors_mut().is_none());
        assert!(config("kfac").set_factor_draws(2) && !config("sf").set_factor_draws(2));
        assert!(config("iekfac").damping_mut().is_some());
        let mut wrong = config("sgd");
        wrong.set_momentum(0.5);
        assert_eq!(wrong.to_fields()["momentum"], 0.5);
    }
}
