//! From a model into an adapter folder.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use super::adapt;
use super::census::{Census, Weight};
use super::walk::{self, Look, Place, joined};
use crate::config::{Bias, LoraSettings, PeftConfig};
use crate::error::Error;
use crate::folder::{AdapterFolder, AdapterKey, LoraPart};
use crate::names::{NameMap, first_that_fits};
use crate::target::ModuleKind;

/// The adapter `name` of the model, for a folder of PEFT.
pub(super) fn save<M: Module>(
    model: &M,
    name: &str,
    settings: &LoraSettings,
    names: &NameMap,
) -> Result<AdapterFolder, Error> {
    let census = Census::of(model, names);
    let values = Values::of(model);
    let config = PeftConfig::from(settings.clone());
    let mut keys: Vec<AdapterKey> = Vec::new();
    for (module, layer) in &census.layers {
        let embedding = matches!(layer.weight, Weight::Two(_, ModuleKind::Embedding));
        for factor in values.factors(&layer.path, name) {
            let part = match (factor, embedding) {
                ("a", false) => LoraPart::A,
                ("b", false) => LoraPart::B,
                ("a", true) => LoraPart::EmbeddingA,
                ("b", true) => LoraPart::EmbeddingB,
                _ => LoraPart::Magnitude,
            };
            let module = module.clone();
            keys.push(AdapterKey::Lora { module, part });
        }
    }
    if keys.is_empty() {
        return Err(Error::UnknownAdapter {
            name: name.into(),
            known: super::operate::names(model).into_iter().collect(),
        });
    }
    let adapted: BTreeSet<String> = keys.iter().filter_map(lora_module).collect();
    let saved = settings.modules_to_save.as_deref().unwrap_or_default();
    for own in &census.parameters {
        let module = own.module.clone();
        let bias = own.key == "bias";
        if adapt::under_saved(saved, &module) {
            let parameter = own.key.clone();
            keys.push(AdapterKey::Saved { module, parameter });
        } else if bias
            && (settings.bias == Bias::All
                || settings.bias == Bias::LoraOnly && adapted.contains(&module))
        {
            keys.push(AdapterKey::Bias { module });
        }
    }
    let mut tensors = BTreeMap::new();
    for key in keys {
        let Some(data) = values.get(&key, name, &census) else {
            unreachable!("keys were made from the model");
        };
        tensors.insert(key.name_beside(&config, &adapted), data);
    }
    let folder = AdapterFolder { config, tensors };
    folder.check()?;
    Ok(folder)
}

/// The folder with the model's values in place of its own: keys, types and configuration stay.
pub(super) fn update<M: Module>(
    model: &M,
    name: &str,
    folder: &AdapterFolder,
    schemes: &[NameMap],
) -> Result<AdapterFolder, Error> {
    let values = Values::of(model);
    let tensors = first_that_fits(schemes, |names| {
        let census = Census::of(model, names);
        let updated = folder.tensors.iter().map(|(text, old)| {
            let key = AdapterKey::parse(text, &folder.config)?;
            let new = match key {
                // These are not of the model.
                AdapterKey::PromptEmbeddings | AdapterKey::Original { .. } => old.clone(),
                key => {
                    let new = values.get(&key, name, &census).ok_or_else(|| Error::Key {
                        key: text.clone(),
                        reason: "the model has no such tensor",
                    })?;
                    new.convert_dtype(old.dtype())
                }
            };
            Ok((text.clone(), new))
        });
        updated.collect()
    })?;
    let folder = AdapterFolder {
        config: folder.config.clone(),
        tensors,
    };
    folder.check()?;
    Ok(folder)
}

fn lora_module(key: &AdapterKey) -> Option<String> {
    match key {
        AdapterKey::Lora { module, .. } => Some(module.clone()),
        _ => None,
    }
}

/// Reads the value of a parameter, transposed if asked for.
type Read = Box<dyn Fn(bool) -> TensorData>;

/// The parameters of a model by path, read when they are needed.
#[derive(Default)]
struct Values {
    own: HashMap<String, Read>,
    /// By path of the module and name of the adapter, with the name of the factor.
    adapters: HashMap<(String, String), Vec<(String, Read)>>,
}

impl Values {
    fn of<M: Module>(model: &M) -> Self {
        let mut values = Self::default();
        walk::visit(model, &mut values);
        values
    }

    /// Names of the factors of an adapter.
    fn factors(&self, path: &str, name: &str) -> Vec<&str> {
        let factors = self.adapters.get(&(path.into(), name.into()));
        let factors = factors.into_iter().flatten();
        factors.map(|(factor, _)| factor.as_str()).collect()
    }

    /// The tensor of a key, in PEFT's layout; `None` where the model has none.
    fn get(&self, key: &AdapterKey, name: &str, census: &Census) -> Option<TensorData> {
        match key {
            AdapterKey::Lora { module, part } => self.factor(module, *part, name, census),
            AdapterKey::Saved { module, parameter } | AdapterKey::Base { module, parameter } => {
                self.parameter(&joined(module, parameter), census)
            }
            AdapterKey::Bias { module } => self.parameter(&joined(module, "bias"), census),
            AdapterKey::Original { .. } | AdapterKey::PromptEmbeddings => None,
        }
    }

    fn factor(
        &self,
        module: &str,
        part: LoraPart,
        name: &str,
        census: &Census,
    ) -> Option<TensorData> {
        let layer = census.layer(module)?;
        let factors = self.adapters.get(&(layer.path.clone(), name.into()))?;
        let wanted = match part {
            LoraPart::A | LoraPart::EmbeddingA => "a",
            LoraPart::B | LoraPart::EmbeddingB => "b",
            LoraPart::Magnitude => "magnitude",
        };
        let (_, read) = factors.iter().find(|(factor, _)| factor == wanted)?;
        // PEFT keeps the transposes of the 2-D factors.
        let data = read(matches!(layer.weight, Weight::Two(..)));
        Some(match (&layer.weight, part) {
            // At the rank of the kernels, along the channels of the output.
            (Weight::Four(_), LoraPart::Magnitude) => {
                let (bytes, shape, dtype) = data.into_parts();
                TensorData::from_bytes(bytes, [1, shape.num_elements(), 1, 1], dtype)
            }
            _ => data,
        })
    }

    fn parameter(&self, key: &str, census: &Census) -> Option<TensorData> {
        let own = census.parameter(key)?;
        let read = self.own.get(&own.full_path())?;
        Some(read(own.transposed))
    }
}

impl Look for Values {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>) {
        let value = param.clone();
        let read = move |transposed| match transposed && D == 2 {
            true => value.base().swap_dims(0, 1).into_data(),
            false => value.base().into_data(),
        };
        match place.adapter() {
            Some((path, name, factor)) => self
                .adapters
                .entry((path, name.into()))
                .or_default()
                .push((factor.into(), Box::new(read))),
            None => {
                self.own.insert(place.path.join("."), Box::new(read));
            }
        }
    }
}
