//! Whether the tensors of a folder are those of an adapter of its configuration.

use std::collections::BTreeMap;

use burn::tensor::TensorData;

use super::{AdapterFolder, AdapterKey, weights};
use crate::error::Error;
use crate::tuner::{LayerTensors, ModelTensors};

pub(super) fn folder(folder: &AdapterFolder) -> Result<(), Error> {
    folder.config.validate()?;
    for (key, data) in &folder.tensors {
        weights::dtype(key, data)?;
    }
    let entries = folder.entries()?;
    let tuner = folder.config.tuner();
    tuner.check_model_tensors(&of_model(&entries))?;
    let Some(layers) = tuner.layers()? else {
        return Ok(());
    };
    let modules = by_module(folder, &entries)?;
    if modules.is_empty() {
        let part = layers.first_part().suffix();
        let key = format!("{}….{part}", tuner.prefix());
        return Err(Error::MissingKey { key });
    }
    modules
        .values()
        .try_for_each(|tensors| layers.check(tensors))
}

/// The tensors of the whole model.
pub(crate) fn of_model<'a>(entries: &[(AdapterKey, &'a TensorData)]) -> ModelTensors<'a> {
    let entries = entries.iter();
    let of_model = entries.filter_map(|(key, data)| match key {
        AdapterKey::Model { part } => Some((*part, *data)),
        _ => None,
    });
    of_model.collect()
}

/// The tensors of every adapted module.
pub(crate) fn by_module<'a>(
    folder: &'a AdapterFolder,
    entries: &'a [(AdapterKey, &'a TensorData)],
) -> Result<BTreeMap<&'a str, LayerTensors<'a>>, Error> {
    let prefix = folder.config.tuner().prefix();
    let mut modules = BTreeMap::new();
    for (text, (key, data)) in folder.tensors.keys().zip(entries) {
        let AdapterKey::Adapter { module, part } = key else {
            continue;
        };
        let layer = modules
            .entry(module.as_str())
            .or_insert_with(|| LayerTensors::new(module, prefix));
        if !layer.insert(*part, data) {
            return Err(Error::Key {
                key: text.clone(),
                reason: "the same tensor is there under another name",
            });
        }
    }
    Ok(modules)
}
