//! New adapters that begin with the principal components of the layers' inputs.

use std::collections::HashMap;

use burn::module::{Module, Param, ParamId};
use burn::tensor::Tensor;

use super::Peft;
use super::adapt;
use super::census::Census;
use super::values::{self, Values};
use super::walk::{self, Look, Place, joined};
use crate::adapters::{Layer, SLOT, Weight, place};
use crate::error::Error;
use crate::lora::{Components, EvaConfig, InitLoraWeights, LoraConfig, collected, ranks};
use crate::methods::PeftConfig;
use crate::name_map::{NameMap, first_that_fits};
use crate::settings::Modules;

/// The model with adapters for these targets, and the configuration that they have.
pub(super) fn adapt_to_inputs<M: Module>(
    model: M,
    name: &str,
    config: &LoraConfig,
    eva: &EvaConfig,
    names: &[NameMap],
    pass: impl FnOnce(&M),
) -> Result<(M, LoraConfig), Error> {
    eva.validate()?;
    let config = config
        .clone()
        .with_init_lora_weights(InitLoraWeights::Kaiming);
    let probe = model.clone().adapt(name, &config, names)?;
    let peft = PeftConfig::from(&config);
    let tuner = peft.layers()?;
    let layers: Vec<(String, Layer)> = first_that_fits(names, |names| {
        let census = Census::of(&model, names);
        let targets = adapt::targets(tuner.as_ref(), &census)?;
        let layers = adapt::chosen(tuner.as_ref(), &census, &targets)?;
        let modules = targets.into_iter().map(|target| target.module);
        Ok(modules.zip(layers.into_iter().cloned()).collect())
    })?;
    let mut firsts = Firsts {
        name: name.into(),
        ids: HashMap::new(),
    };
    walk::visit(&probe, &mut firsts);
    let mut inputs = collected(|| pass(&probe.valid()));
    let scales = config.scales()?;
    let mut found = Vec::new();
    for (module, layer) in &layers {
        let moments = firsts.ids.get(&layer.path).and_then(|id| inputs.remove(id));
        let moments = moments.ok_or_else(|| Error::Inputs {
            module: module.clone(),
            problem: "none were seen: expected a linear layer that the pass calls with \
                      `forward_adapted`"
                .into(),
        })?;
        let rank = scales.rank_of(module)?;
        let components = Components::of(module, moments, eva.most(rank))?;
        found.push((module, layer, rank, components));
    }
    let budget = found.iter().map(|(_, _, rank, _)| rank).sum();
    let explained: Vec<&[f64]> = found
        .iter()
        .map(|(_, _, _, components)| components.explained.as_slice())
        .collect();
    let ranks = ranks(&explained, budget);
    let mut config = config.with_init_lora_weights(InitLoraWeights::Other("eva".into()));
    let mut patterns = (Vec::new(), Vec::new());
    let mut modules = Vec::new();
    for ((module, _, rank, _), new) in found.iter().zip(&ranks) {
        if *new == 0 {
            continue;
        }
        modules.push((*module).clone());
        patterns.0.push(((*module).clone(), *new));
        let alpha = scales.alpha_of(module)?;
        let alpha = if eva.adjust_scaling_factors {
            alpha * *new as f64 / *rank as f64
        } else {
            alpha
        };
        patterns.1.push(((*module).clone(), alpha));
    }
    (config.rank_pattern, config.alpha_pattern) = patterns;
    config.target_modules = Some(Modules::from(modules));
    let started = config
        .clone()
        .with_init_lora_weights(InitLoraWeights::Kaiming);
    let model = model.adapt(name, &started, names)?;
    let mut values = Values::new();
    for ((_, layer, _, components), rank) in found.iter().zip(&ranks) {
        if *rank == 0 {
            continue;
        }
        let Weight::Two(weight) = &layer.weight else {
            continue;
        };
        let (device, dtype) = place(weight);
        let a = components.factor(*rank, eva.whiten, &device.inner(), dtype);
        let path = format!("{}.{SLOT}.{name}.a", joined(&layer.path, "weight"));
        values.insert(path, Box::new(a));
    }
    Ok((values::put(model, values), config))
}

/// A of the adapters of this name, by the path of the module.
struct Firsts {
    name: String,
    ids: HashMap<String, ParamId>,
}

impl Look for Firsts {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>) {
        if let Some(adapter) = place.adapter()
            && adapter.name == self.name
            && adapter.parameter == "a"
        {
            self.ids.insert(adapter.module, param.id);
        }
    }
}
