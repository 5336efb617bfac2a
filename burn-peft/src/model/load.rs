//! From an adapter folder into a model.

use std::any::Any;
use std::collections::BTreeSet;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use super::adapt;
use super::census::{Census, Own, TiedTo};
use super::install::{self, Plan};
use super::merge;
use super::switch;
use super::tied::{self, Need};
use super::values::Values;
use super::walk::joined;
use crate::adapters::{CopyKind, Unadapted, Weight, at, carrier, plain};
use crate::error::Error;
use crate::folder::{AdapterFolder, AdapterKey, by_module, of_model};
use crate::name_map::{NameMap, first_that_fits};
use crate::settings::Modules;
use crate::targets::{Selection, Target, is_language_head, is_under_saved};
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
    let layers = folder.config.tuner().layers()?;
    let layers = layers.as_deref();
    // The adapter belongs to the base weights.
    let model = merge::unmerge(model);
    let base = switch::base(model.clone(), name);
    let (prepared, entries, census) =
        first_that_fits(names, |names| entries.fitted(&base, layers, names))?;
    let mut plan = Plan::new(folder.config.peft_type());
    let targets = match layers {
        Some(layers) => adapters(&entries, layers, &census, &mut plan)?,
        None => Vec::new(),
    };
    entries.copies(&census, &targets, &mut plan)?;
    if !plan.is_empty() {
        census.check_method(name, folder.config.peft_type())?;
    }
    plan.check(&model)?;
    // Nothing fails from here on.
    if plan.is_empty() {
        return Ok(install::install(model, name, plan));
    }
    Ok(install::install(prepared.unwrap_or(base), name, plan))
}

/// The tensors of a folder by what they are.
#[derive(Clone)]
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

    /// The model's modules under these names, if they have every key: with layers of their own for
    /// output heads that need one, and the tensors that belong to these modules.
    fn fitted<M: Module>(
        &self,
        model: &M,
        layers: Option<&(dyn LayerTuner + '_)>,
        names: &NameMap,
    ) -> Result<(Option<M>, Self, Census), Error> {
        let carrier = |census: &Census, tied: &TiedTo| match layers {
            Some(layers) => adapt::carrier(layers)(census, tied),
            None => carrier::<Unadapted, 2>(),
        };
        let needs = |census: &Census, tied: &TiedTo| self.need(layers, census, tied);
        let (prepared, census) = tied::prepared(model, names, carrier, needs)?;
        adapt::check_shared(&self.folder.config, layers, &census)?;
        census.check_shared(|module| {
            self.keys.iter().any(|(key, _)| match key {
                AdapterKey::Adapter { module: own, .. } | AdapterKey::Saved { module: own, .. } => {
                    own == module
                }
                _ => false,
            })
        })?;
        let mut entries = self.clone();
        for (head, table) in names.tied_heads() {
            entries.share(head, table, &census);
        }
        match entries.stranger(&census)? {
            None => Ok((prepared, entries, census)),
            Some((module, key)) => Err(Error::Key {
                key,
                reason: if is_language_head(&module) {
                    "the model has no such module. If its output head is tied to the embedding \
                     table, declare it with `NameMap::with_tied_head`"
                } else {
                    "the model has no such module"
                },
            }),
        }
    }

    /// What the folder needs of a head that shares a table.
    fn need(
        &self,
        layers: Option<&(dyn LayerTuner + '_)>,
        census: &Census,
        tied: &TiedTo,
    ) -> Result<Need, Error> {
        let config = &self.folder.config;
        let saved = |module: &str| is_under_saved(config.modules_to_save(), module);
        let need = match layers {
            Some(layers) => adapt::need(config, layers, census, tied)?,
            None if saved(&tied.head) => Need::Layer,
            None if saved(&tied.table) => Need::Note,
            None => Need::Nothing,
        };
        let named = self.keys.iter().any(|(key, _)| match key {
            AdapterKey::Adapter { module, .. } | AdapterKey::Saved { module, .. } => {
                *module == tied.head
            }
            _ => false,
        });
        if need == Need::Layer || named {
            return Ok(Need::Layer);
        }
        let [table, head] = [&tied.table, &tied.head].map(|module| self.of_base(module));
        if let (Some(table), Some(head)) = (table, head)
            && !same(table, head)
        {
            return Err(Error::TiedTables {
                head: tied.head.clone(),
                table: tied.table.clone(),
            });
        }
        let own = census.parameter(&joined(&tied.table, "weight"));
        let changed = match (table.or(head), own) {
            (Some(data), Some(own)) => !is_base(data, own, census),
            _ => false,
        };
        Ok(if changed { Need::Layer } else { need })
    }

    /// A table of the base model that the folder holds is also the head that shares it: where the
    /// head has a layer of its own, this gets the same values, and the other way round.
    fn share(&mut self, head: &str, table: &str, census: &Census) {
        if !census.carried_heads.contains(head) {
            return;
        }
        let (module, data) = match (self.of_base(table), self.of_base(head)) {
            (Some(data), None) => (head, data),
            (None, Some(data)) => (table, data),
            _ => return,
        };
        let saved = |key: &AdapterKey| match key {
            AdapterKey::Saved { module: saved, .. } => saved == module,
            _ => false,
        };
        if !self.keys.iter().any(|(key, _)| saved(key)) {
            let (module, parameter) = (module.to_string(), "weight".to_string());
            self.keys
                .push((AdapterKey::Base { module, parameter }, data));
        }
    }

    /// The table of the base model that the folder holds for a module.
    fn of_base(&self, wanted: &str) -> Option<&'a TensorData> {
        let mut keys = self.keys.iter();
        let found = keys.find(|(key, _)| match key {
            AdapterKey::Base { module, parameter } => module == wanted && parameter == "weight",
            _ => false,
        });
        found.map(|(_, data)| *data)
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

    /// The first key that names nothing of the model, with its module.
    fn stranger(&self, census: &Census) -> Result<Option<(String, String)>, Error> {
        for (key, _) in &self.keys {
            if let AdapterKey::Adapter { module, .. } = key
                && census.layer(module).is_none()
            {
                census.check_kind(module)?;
                return Ok(Some((module.clone(), self.name(key))));
            }
        }
        let mut own = self.own();
        let own = own.find(|(own, _, _)| census.parameter(own).is_none());
        Ok(own.map(|(own, key, _)| {
            let module = own.rsplit_once('.').map_or("", |(module, _)| module);
            (module.to_string(), self.name(key))
        }))
    }

    /// The adapter's copies of the model's own parameters. Everything that the configuration trains
    /// has to be there.
    fn copies(&self, census: &Census, targets: &[Target], plan: &mut Plan) -> Result<(), Error> {
        let config = &self.folder.config;
        let mut values = self.values(census)?;
        for own in adapt::trains(config, census, targets) {
            let path = own.full_path();
            let Some(value) = values.remove(&path) else {
                let adapted: BTreeSet<String> =
                    targets.iter().map(|target| target.module.clone()).collect();
                let module = own.module.clone();
                let key = if is_under_saved(config.modules_to_save(), &module) {
                    let parameter = own.key.clone();
                    AdapterKey::Saved { module, parameter }
                } else {
                    AdapterKey::Bias { module }
                };
                return Err(Error::MissingKey {
                    key: key.name_in(config, &adapted),
                });
            };
            plan.copy(path, Some(value), CopyKind::Trained);
        }
        for (path, value) in values {
            plan.copy(path, Some(value), CopyKind::Fixed);
        }
        Ok(())
    }

    /// Values of the model's own parameters, by path. A parameter of the base model that the
    /// configuration does not name is left out where the model has it already.
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
            if matches!(key, AdapterKey::Base { .. }) && is_base(data, own, census) {
                continue;
            }
            let value: Box<dyn Any> = match (expected.len(), own.transposed) {
                (1, _) => Box::new(read::<1>(data, own)),
                (2, true) => Box::new(read::<2>(data, own).transpose()),
                (2, false) => Box::new(read::<2>(data, own)),
                (3, _) => Box::new(read::<3>(data, own)),
                (4, _) => Box::new(read::<4>(data, own)),
                (5, _) => Box::new(read::<5>(data, own)),
                _ => return Err(wrong("one to five axes".into())),
            };
            values.insert(own.full_path(), value);
        }
        Ok(values)
    }
}

/// On the parameter's device, in the file's precision: the value takes the parameter's precision
/// when it gets there.
fn read<const D: usize>(data: &TensorData, own: &Own) -> Tensor<D> {
    Tensor::from_data(data.clone(), (&own.device.clone().inner(), data.dtype()))
}

/// Whether a tensor of a folder is what the base model has there.
fn is_base(data: &TensorData, own: &Own, census: &Census) -> bool {
    let Some(Weight::Two(weight)) = census.layer(&own.module).map(|layer| &layer.weight) else {
        return false;
    };
    if own.leaf != "weight" || data.num_elements() != own.shape.num_elements() {
        return false;
    }
    let mut table = plain(weight);
    if own.transposed {
        table = table.transpose();
    }
    if data.shape().as_slice() != table.dims() || !table.dtype().is_float() {
        return false;
    }
    at(read::<2>(data, own), table.dtype())
        .equal(table)
        .all()
        .into_scalar()
}

/// Whether two tensors of a folder hold the same values.
fn same(one: &TensorData, other: &TensorData) -> bool {
    one.shape() == other.shape() && one.iter::<f64>().eq(other.iter::<f64>())
}

/// Put the adapters of the folder's layers into the plan.
fn adapters(
    entries: &Entries<'_>,
    layers: &dyn LayerTuner,
    census: &Census,
    plan: &mut Plan,
) -> Result<Vec<Target>, Error> {
    let tensors = by_module(entries.folder, &entries.keys)?;
    let targets = targets(layers, census, tensors.keys().copied())?;
    let is_target = |module: &str| targets.iter().any(|target| target.module == module);
    if let Some(layer) = tensors.values().find(|layer| !is_target(layer.module)) {
        return Err(Error::Key {
            key: layer.key(layers.first_part()),
            reason: "target_modules does not choose this module",
        });
    }
    for (_, layer) in &census.layers {
        plan.carry(layer, layers.carrier(layer));
    }
    let chosen = adapt::chosen(layers, census, &targets)?;
    let shared = layers.shared(&chosen, &of_model(&entries.keys))?;
    for (target, layer) in targets.iter().zip(chosen) {
        let Some(tensors) = tensors.get(target.module.as_str()) else {
            let module = target.module.clone();
            let part = layers.first_part();
            return Err(Error::MissingKey {
                key: entries.name(&AdapterKey::Adapter { module, part }),
            });
        };
        plan.add(&layer.path, layers.loaded(target, layer, tensors, &shared)?);
    }
    Ok(targets)
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
