//! New adapters by a configuration of PEFT.

use std::any::Any;
use std::collections::HashSet;

use burn::module::Module;

use super::attach::{self, Pending};
use super::census::{Census, Layer, Own, Weight};
use super::operate;
use super::values::{self, Values};
use super::walk::joined;
use crate::config::{Bias, InitLoraWeights, LoraSettings};
use crate::error::Error;
use crate::lora::{Initialization, LoraConfig};
use crate::names::NameMap;
use crate::target::{ModuleKind, Target, Targets, is_saved};

/// Adapters for every target of `settings`, freshly initialised; only they, the biases that the
/// configuration names and its `modules_to_save` train.
pub(super) fn adapt<M: Module>(
    model: M,
    name: &str,
    settings: &LoraSettings,
    names: &NameMap,
) -> Result<M, Error> {
    settings.validate()?;
    let init = initialization(&settings.init_lora_weights)?;
    // A new adapter starts from the base weights.
    let model = operate::fold(model, false);
    let census = Census::of(&model, names);
    let targets = Targets::resolve(settings, &census.modules)?;
    let made = make(settings, init, &census, &targets)?;
    let trains = trains(settings, &census, &targets);
    let model = values::set(model, made.values);
    let model = attach::attach(model, name, made.adapters);
    Ok(attach::train_only(model, |path| trains.contains(path)))
}

/// Adapters, and values of weights that lose a part to them.
#[derive(Default)]
pub(super) struct Made {
    pub adapters: Pending,
    pub values: Values,
}

pub(super) fn make(
    settings: &LoraSettings,
    init: Initialization,
    census: &Census,
    targets: &[Target],
) -> Result<Made, Error> {
    let mut made = Made::default();
    for target in targets {
        let Some(layer) = census.layer(&target.module) else {
            return Err(Error::TargetKind {
                module: target.module.clone(),
            });
        };
        let config = layer_config(settings, init, target);
        let fresh = Fresh::new(&config, layer)?;
        if let Some(rest) = fresh.rest {
            made.values.insert(joined(&layer.path, "weight"), rest);
        }
        made.adapters.insert(layer.path.clone(), fresh.adapter);
    }
    Ok(made)
}

/// A new adapter at the rank of its weight, and what is left of the weight where part of it moved.
struct Fresh {
    adapter: Box<dyn Any>,
    rest: Option<Box<dyn Any>>,
}

impl Fresh {
    fn new(config: &LoraConfig, layer: &Layer) -> Result<Self, Error> {
        let adapter: Box<dyn Any> = match &layer.weight {
            Weight::Two(table, ModuleKind::Embedding) => Box::new(config.embedding_adapter(table)?),
            Weight::Two(weight, _) if config.init.splits_weight() => {
                let (rest, adapter) = config.split(weight.clone())?;
                let rest = rest.base();
                let rest = match rest.is_autodiff() {
                    true => rest.inner(),
                    false => rest,
                };
                return Ok(Self {
                    adapter: Box::new(adapter),
                    rest: Some(Box::new(rest)),
                });
            }
            Weight::Two(weight, _) => Box::new(config.adapter(weight)?),
            Weight::Four(kernels) => Box::new(config.kernel_adapter(kernels)?),
        };
        Ok(Self {
            adapter,
            rest: None,
        })
    }
}

pub(super) fn layer_config(
    settings: &LoraSettings,
    init: Initialization,
    target: &Target,
) -> LoraConfig {
    LoraConfig::new()
        .with_rank(target.rank)
        .with_alpha(target.alpha)
        .with_dropout(settings.lora_dropout)
        .with_rslora(settings.use_rslora)
        .with_dora(settings.use_dora)
        .with_init(init)
}

/// How new factors start.
pub(super) fn initialization(init: &InitLoraWeights) -> Result<Initialization, Error> {
    match init {
        InitLoraWeights::Kaiming => Ok(Initialization::Kaiming),
        InitLoraWeights::Random => Ok(Initialization::Random),
        InitLoraWeights::Gaussian => Ok(Initialization::Gaussian),
        // The exact decomposition is what the iterations approach.
        InitLoraWeights::Pissa | InitLoraWeights::PissaNiter(_) => Ok(Initialization::Pissa),
        InitLoraWeights::Olora => Ok(Initialization::Olora),
        InitLoraWeights::Orthogonal => Ok(Initialization::Orthogonal),
        other => Err(Error::Unsupported {
            field: "init_lora_weights",
            value: format!("\"{other}\""),
        }),
    }
}

/// Paths of the model's own parameters that train.
pub(super) fn trains(
    settings: &LoraSettings,
    census: &Census,
    targets: &[Target],
) -> HashSet<String> {
    let adapted: HashSet<&str> = targets
        .iter()
        .map(|target| target.module.as_str())
        .collect();
    let saved = settings.modules_to_save.as_deref().unwrap_or_default();
    let own = census.parameters.iter().filter(|own| {
        let bias = own.key == "bias";
        under_saved(saved, &own.module)
            || match settings.bias {
                Bias::None => false,
                Bias::All => bias,
                Bias::LoraOnly => bias && adapted.contains(own.module.as_str()),
            }
    });
    own.map(Own::full_path).collect()
}

/// Whether a module or one above it is among `modules_to_save`.
pub(super) fn under_saved(saved: &[String], module: &str) -> bool {
    let ends = module.match_indices('.').map(|(at, _)| at);
    ends.chain([module.len()])
        .any(|end| is_saved(saved, &module[..end]))
}

impl Own {
    /// Path of the parameter in the Burn model.
    pub fn full_path(&self) -> String {
        joined(&self.path, &self.leaf)
    }

    /// Key in `transformers`.
    pub fn full_key(&self) -> String {
        joined(&self.module, &self.key)
    }
}
