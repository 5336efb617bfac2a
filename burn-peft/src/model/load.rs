//! From an adapter folder into a model.

use std::any::Any;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use super::adapt;
use super::census::{Census, Own};
use super::install::{self, Plan, Values};
use super::merge;
use super::walk::joined;
use crate::error::Error;
use crate::folder::{AdapterFolder, AdapterKey, by_module};
use crate::name_map::{NameMap, first_that_fits};
use crate::settings::Modules;
use crate::targets::{Selection, Target};
use crate::tuner::LayerTuner;

/// The model with the adapter of the folder, active and trainable.
pub(super) fn load<M: Module>(
    model: M,
    name: &str,
    folder: &AdapterFolder,
    names: &[NameMap],
) -> Result<M, Error> {
    folder.check()?;
    let entries = Entries::of(folder)?;
    // The adapter belongs to the base weights.
    let model = merge::fold(model, false);
    let census = first_that_fits(names, |names| entries.census(&model, names))?;
    let mut plan = match folder.config.tuner().layers()? {
        Some(layers) => {
            census.check_method(name, folder.config.peft_type())?;
            adapters(&entries, layers.as_ref(), &census)?
        }
        None => Plan::new(adapt::trains(&folder.config, &census, &[])),
    };
    plan.values.extend(entries.values(&census)?);
    // Nothing fails from here on.
    Ok(install::install(model, name, plan))
}

/// The tensors of a folder by what they are.
struct Entries<'a> {
    folder: &'a AdapterFolder,
    keys: Vec<(AdapterKey, &'a TensorData)>,
}

impl<'a> Entries<'a> {
    fn of(folder: &'a AdapterFolder) -> Result<Self, Error> {
        Ok(Self {
            folder,
            keys: folder.entries()?,
        })
    }

    /// The model's modules under these names, if they have every key.
    fn census<M: Module>(&self, model: &M, names: &NameMap) -> Result<Census, Error> {
        let census = Census::of(model, names);
        match self.stranger(&census)? {
            None => Ok(census),
            Some(key) => Err(Error::Key {
                key,
                reason: "the model has no such module",
            }),
        }
    }

    /// Keys of the model's own parameters, as `transformers` calls them.
    fn own(&self) -> impl Iterator<Item = (String, &AdapterKey, &'a TensorData)> {
        self.keys.iter().filter_map(|(key, data)| {
            let own = match key {
                AdapterKey::Saved { module, parameter }
                | AdapterKey::Base { module, parameter } => joined(module, parameter),
                AdapterKey::Bias { module } => joined(module, "bias"),
                _ => return None,
            };
            Some((own, key, *data))
        })
    }

    fn name(&self, key: &AdapterKey) -> String {
        key.name(&self.folder.config)
    }

    /// The first key that names nothing of the model.
    fn stranger(&self, census: &Census) -> Result<Option<String>, Error> {
        for (key, _) in &self.keys {
            if let AdapterKey::Adapter { module, .. } = key
                && census.layer(module).is_none()
            {
                census.check_kind(module)?;
                return Ok(Some(self.name(key)));
            }
        }
        let mut own = self.own();
        let own = own.find(|(own, _, _)| census.parameter(own).is_none());
        Ok(own.map(|(_, key, _)| self.name(key)))
    }

    /// Values of the model's own parameters, by path.
    fn values(&self, census: &Census) -> Result<Values, Error> {
        let mut values = Values::new();
        for (name, key, data) in self.own() {
            let Some(own) = census.parameter(&name) else {
                continue;
            };
            census.check_layout(own)?;
            let mut expected = own.shape.as_slice().to_vec();
            if own.transposed {
                expected.reverse();
            }
            let wrong = |expected| Error::Shape {
                key: self.name(key),
                shape: data.shape().as_slice().to_vec(),
                expected,
            };
            if data.shape().as_slice() != expected {
                return Err(wrong(format!("{expected:?}")));
            }
            let value: Box<dyn Any> = match (expected.len(), own.transposed) {
                (1, _) => Box::new(plain::<1>(data, own)),
                (2, true) => Box::new(plain::<2>(data, own).transpose()),
                (2, false) => Box::new(plain::<2>(data, own)),
                (3, _) => Box::new(plain::<3>(data, own)),
                (4, _) => Box::new(plain::<4>(data, own)),
                (5, _) => Box::new(plain::<5>(data, own)),
                _ => return Err(wrong("one to five axes".into())),
            };
            values.insert(own.full_path(), value);
        }
        Ok(values)
    }
}

/// On the parameter's device, in the file's precision: the value takes the parameter's precision
/// when it gets there.
fn plain<const D: usize>(data: &TensorData, own: &Own) -> Tensor<D> {
    Tensor::from_data(data.clone(), (&own.device.clone().inner(), data.dtype()))
}

/// The adapters of the folder's layers.
fn adapters(
    entries: &Entries<'_>,
    layers: &dyn LayerTuner,
    census: &Census,
) -> Result<Plan, Error> {
    let config = &entries.folder.config;
    let tensors = by_module(entries.folder, &entries.keys)?;
    let targets = targets(layers, census, tensors.keys().copied())?;
    let is_target = |module: &str| targets.iter().any(|target| target.module == module);
    if let Some(layer) = tensors.values().find(|layer| !is_target(layer.module)) {
        return Err(Error::Key {
            key: layer.key(layers.first_part()),
            reason: "target_modules does not choose this module",
        });
    }
    let mut plan = Plan::new(adapt::trains(config, census, &targets));
    for target in &targets {
        let Some(layer) = census.layer(&target.module) else {
            return Err(layers.selection().wrong_kind(&target.module));
        };
        let Some(tensors) = tensors.get(target.module.as_str()) else {
            let module = target.module.clone();
            let part = layers.first_part();
            return Err(Error::MissingKey {
                key: entries.name(&AdapterKey::Adapter { module, part }),
            });
        };
        plan.add(layer, layers.loaded(target, layer, tensors)?);
    }
    Ok(plan)
}

/// The modules that the configuration chooses. Where it leaves the choice to PEFT, which chose by
/// the kind of model when the file was written, they are those that have tensors.
fn targets<'a>(
    layers: &dyn LayerTuner,
    census: &Census,
    adapted: impl Iterator<Item = &'a str>,
) -> Result<Vec<Target>, Error> {
    if layers.selection().target_modules.is_some() {
        return adapt::targets(layers, census);
    }
    let names = Modules::from(adapted);
    let selection = Selection {
        target_modules: Some(&names),
        ..layers.selection()
    };
    selection.resolve(&census.modules)
}
