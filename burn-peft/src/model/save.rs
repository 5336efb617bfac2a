//! From a model into an adapter folder.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use super::census::{Census, Own};
use super::walk::{self, Look, Place, joined};
use super::{adapt, carried, switch};
use crate::adapters::{AdapterPart, Layer, Shared, at};
use crate::error::Error;
use crate::folder::{AdapterFolder, AdapterKey, written};
use crate::methods::PeftConfig;
use crate::name_map::{NameMap, first_that_fits};
use crate::targets::is_under_saved;
use crate::tuner::LayerTuner;

/// The adapter `name` of the model, for a folder of PEFT.
pub(super) fn save<M: Module>(
    model: &M,
    name: &str,
    config: &PeftConfig,
    names: &[NameMap],
) -> Result<AdapterFolder, Error> {
    let layers = config.layers()?;
    let known = carried::names(model);
    if !known.contains(name) {
        return Err(switch::unknown(name, &known));
    }
    let model = &switch::only(model.clone(), name);
    let values = Values::of(model);
    let adapter = Adapter {
        name,
        layers: layers.as_ref(),
        values: &values,
    };
    let shared = if layers.stores_shared() {
        shared(model, name)
    } else {
        Shared::default()
    };
    let census = first_that_fits(names, |names| {
        let census = Census::of(model, names);
        adapter.check_targets(&census)?;
        Ok(census)
    });
    let census = match census {
        Ok(census) => census,
        // An adapter that was put on single layers need not be what the configuration would choose.
        Err(
            Error::NoTarget { .. }
            | Error::AllExcluded { .. }
            | Error::TargetKind { .. }
            | Error::Config {
                field: "target_modules",
                ..
            },
        ) => {
            let first = names.first().cloned();
            Census::of(model, &first.unwrap_or_default())
        }
        Err(error) => return Err(error),
    };
    let tensors = adapter.tensors(config, &census, shared)?;
    if tensors.is_empty() {
        return Err(Error::PeftType {
            peft_type: config.peft_type().into(),
            expected: format!("the method of the adapter `{name}`"),
        });
    }
    let folder = AdapterFolder {
        config: config.clone(),
        tensors,
    };
    folder.check()?;
    Ok(folder)
}

/// The folder with the model's values in place of its own: keys, types and configuration stay.
pub(super) fn update<M: Module>(
    model: &M,
    name: &str,
    folder: &AdapterFolder,
    names: &[NameMap],
) -> Result<AdapterFolder, Error> {
    let layers = folder.config.tuner().layers()?;
    let known = carried::names(model);
    let keys = folder.entries()?;
    let of_model = keys
        .iter()
        .any(|(key, _)| !matches!(key, AdapterKey::Model { .. }));
    // The head of a prompt that was trained in the model itself belongs to no adapter.
    if of_model && !known.contains(name) && (layers.is_some() || !known.is_empty()) {
        return Err(switch::unknown(name, &known));
    }
    let model = &switch::only(model.clone(), name);
    let values = Values::of(model);
    let tensors = first_that_fits(names, |names| {
        let census = Census::of(model, names);
        let mut tensors = BTreeMap::new();
        for (text, (key, old)) in folder.tensors.keys().zip(&keys) {
            let new = match key {
                // These are not of the model.
                AdapterKey::Model { .. } | AdapterKey::Original { .. } => Some((*old).clone()),
                AdapterKey::Adapter { module, part } => match (&layers, census.layer(module)) {
                    (Some(layers), Some(layer)) => {
                        let layers = layers.as_ref();
                        let adapter = Adapter {
                            name,
                            layers,
                            values: &values,
                        };
                        adapter.parts(module, layer)?.remove(part)
                    }
                    _ => None,
                },
                AdapterKey::Saved { module, parameter }
                | AdapterKey::Base { module, parameter } => {
                    values.own(&joined(module, parameter), &census)?
                }
                AdapterKey::Bias { module } => values.own(&joined(module, "bias"), &census)?,
            };
            let new = new.ok_or_else(|| Error::Key {
                key: text.clone(),
                reason: "the model has no such tensor",
            })?;
            tensors.insert(text.clone(), written(old, new));
        }
        Ok(tensors)
    })?;
    let folder = AdapterFolder {
        config: folder.config.clone(),
        tensors,
    };
    folder.check()?;
    Ok(folder)
}

/// What the adapters of this name share.
fn shared<M: Module>(model: &M, name: &str) -> Shared {
    let found: Rc<RefCell<Shared>> = Rc::default();
    let (all, name) = (found.clone(), name.to_string());
    // A visitor does not reach what a parameter carries, so a clone is mapped.
    walk::edit_adapters(model.clone(), move |_, adapters| {
        all.borrow_mut().merge(adapters.shared(&name));
    });
    found.take()
}

/// One adapter of a model.
struct Adapter<'a> {
    name: &'a str,
    layers: &'a dyn LayerTuner,
    values: &'a Values,
}

impl Adapter<'_> {
    /// Fail unless every module that has this adapter is a target of the configuration.
    fn check_targets(&self, census: &Census) -> Result<(), Error> {
        let targets = adapt::targets(self.layers, census)?;
        for (module, layer) in &census.layers {
            let adapted = self
                .values
                .adapters
                .contains_key(&(layer.path.clone(), self.name.into()));
            if adapted && !targets.iter().any(|target| target.module == *module) {
                return Err(self.layers.selection().wrong_kind(module));
            }
        }
        Ok(())
    }

    /// All tensors of a folder; none if the model has no such adapter.
    fn tensors(
        &self,
        config: &PeftConfig,
        census: &Census,
        shared: Shared,
    ) -> Result<BTreeMap<String, TensorData>, Error> {
        let mut tensors = BTreeMap::new();
        let mut adapted = BTreeSet::new();
        for (module, layer) in &census.layers {
            for (part, data) in self.parts(module, layer)? {
                let module = module.clone();
                adapted.insert(module.clone());
                tensors.insert(AdapterKey::Adapter { module, part }.name(config), data);
            }
        }
        if adapted.is_empty() {
            return Ok(tensors);
        }
        for (part, tensor) in shared {
            let key = AdapterKey::Model { part }.name(config);
            tensors.insert(key, tensor.into_data());
        }
        for own in &census.parameters {
            if !adapt::trains_with(config, own, |module| adapted.contains(module)) {
                continue;
            }
            let module = own.module.clone();
            let key = if is_under_saved(config.modules_to_save(), &module) {
                let parameter = own.key.clone();
                AdapterKey::Saved { module, parameter }
            } else {
                AdapterKey::Bias { module }
            };
            let Some(data) = self.values.of_own(own, census)? else {
                continue;
            };
            tensors.insert(key.name_in(config, &adapted), data);
        }
        Ok(tensors)
    }

    /// The tensors of one layer, in PEFT's layout.
    fn parts(
        &self,
        module: &str,
        layer: &Layer,
    ) -> Result<BTreeMap<AdapterPart, TensorData>, Error> {
        let parameters = self
            .values
            .adapters
            .get(&(layer.path.clone(), self.name.into()));
        let mut parts = BTreeMap::new();
        for (parameter, read) in parameters.into_iter().flatten() {
            let Some(stored) = self.layers.stored(module, layer, parameter)? else {
                continue;
            };
            let mut data = read(stored.transposed);
            if let Some(plus) = stored.plus {
                let dtype = data.dtype();
                let value = Tensor::<2>::from_data(data, (&plus.device(), dtype));
                data = (value + at(plus, dtype)).into_data();
            }
            if let Some(shape) = stored.shape {
                let (bytes, _, dtype) = data.into_parts();
                data = TensorData::from_bytes(bytes, shape, dtype);
            }
            parts.insert(stored.part, data);
        }
        Ok(parts)
    }
}

/// Reads the value of a parameter, transposed if asked for.
type Read = Box<dyn Fn(bool) -> TensorData>;

/// The parameters of a model by path, read when they are needed.
#[derive(Default)]
struct Values {
    own: HashMap<String, Read>,
    /// By path of the module and name of the adapter, with the name of the parameter.
    adapters: HashMap<(String, String), Vec<(String, Read)>>,
}

impl Values {
    fn of<M: Module>(model: &M) -> Self {
        let mut values = Self::default();
        walk::visit(model, &mut values);
        values
    }

    /// A parameter of the model by its key, in PEFT's layout; `None` where the model has none.
    fn own(&self, key: &str, census: &Census) -> Result<Option<TensorData>, Error> {
        match census.parameter(key) {
            Some(own) => self.of_own(own, census),
            None => Ok(None),
        }
    }

    fn of_own(&self, own: &Own, census: &Census) -> Result<Option<TensorData>, Error> {
        census.check_layout(own)?;
        let read = self.own.get(&own.full_path());
        Ok(read.map(|read| read(own.transposed)))
    }
}

impl Look for Values {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>) {
        let value = param.clone();
        let read = move |transposed| {
            if transposed && D == 2 {
                value.base().swap_dims(0, 1).into_data()
            } else {
                value.base().into_data()
            }
        };
        match place.adapter() {
            Some(adapter) => {
                let parameter = adapter.parameter.to_string();
                self.adapters
                    .entry((adapter.module, adapter.name.into()))
                    .or_default()
                    .push((parameter, Box::new(read)));
            }
            None => {
                self.own.insert(place.path.join("."), Box::new(read));
            }
        }
    }
}
