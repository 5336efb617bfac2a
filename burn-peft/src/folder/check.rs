//! Whether the tensors of a folder are those of an adapter of its configuration.

use std::collections::BTreeMap;

use burn::tensor::TensorData;

use super::key::{AdapterKey, LoraPart};
use super::{AdapterFolder, weights};
use crate::config::{LoraSettings, PeftConfig, PromptSettings, Scales};
use crate::error::Error;

pub(super) fn folder(folder: &AdapterFolder) -> Result<(), Error> {
    folder.config.validate()?;
    for (key, data) in &folder.tensors {
        weights::dtype(key, data)?;
    }
    let entries = folder.entries()?;
    match &folder.config {
        PeftConfig::Lora(settings) => lora(folder, settings, &entries),
        PeftConfig::PromptTuning(settings) => prompt(folder, settings),
    }
}

fn prompt(folder: &AdapterFolder, settings: &PromptSettings) -> Result<(), Error> {
    let key = AdapterKey::PromptEmbeddings.name(&folder.config);
    let Some(table) = folder.tensors.get(&key) else {
        return Err(Error::MissingKey { key });
    };
    let rows = settings.rows()?;
    let fits = match table.shape().as_slice() {
        [found, width] => {
            *found == rows
                && settings
                    .token_dim
                    .is_none_or(|token_dim| token_dim == *width)
        }
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => {
            let width = settings.token_dim;
            let width = width.map_or("token_dim".into(), |width| width.to_string());
            Err(wrong(&key, table, format!("[{rows}, {width}]")))
        }
    }
}

fn lora(
    folder: &AdapterFolder,
    settings: &LoraSettings,
    entries: &[(AdapterKey, &TensorData)],
) -> Result<(), Error> {
    let scales = settings.scales()?;
    let mut modules: BTreeMap<&str, Module<'_>> = BTreeMap::new();
    for (key, data) in entries {
        let AdapterKey::Lora { module, part } = key else {
            continue;
        };
        let parts = modules.entry(module).or_insert_with(|| Module {
            folder,
            name: module,
            parts: BTreeMap::new(),
        });
        if parts.parts.insert(*part, data).is_some() {
            let key = format!("{}.weight", key.name(&folder.config));
            let reason = "the same tensor is there under its older name";
            return Err(Error::Key { key, reason });
        }
    }
    if modules.is_empty() {
        let key = "base_model.model.….lora_A.weight".into();
        return Err(Error::MissingKey { key });
    }
    modules
        .values()
        .try_for_each(|module| module.check(settings, &scales))
}

/// The tensors of one adapted module.
struct Module<'a> {
    folder: &'a AdapterFolder,
    name: &'a str,
    parts: BTreeMap<LoraPart, &'a TensorData>,
}

impl Module<'_> {
    fn check(&self, settings: &LoraSettings, scales: &Scales) -> Result<(), Error> {
        let embedding = [LoraPart::EmbeddingA, LoraPart::EmbeddingB];
        let layer = [LoraPart::A, LoraPart::B];
        let first = |parts: [LoraPart; 2]| {
            let mut parts = parts.into_iter();
            parts.find(|part| self.parts.contains_key(part))
        };
        let of_embedding = first(embedding);
        let is_embedding = of_embedding.is_some();
        if let (Some(part), Some(_)) = (of_embedding, first(layer)) {
            let reason = "the module has the factors of a linear layer or convolution too";
            let key = self.key(part);
            return Err(Error::Key { key, reason });
        }
        let [a, b] = match is_embedding {
            true => embedding,
            false => layer,
        };
        let rank = scales.rank_of(self.name)?;
        let width = self.factors((a, self.part(a)?), (b, self.part(b)?), rank)?;
        let magnitude = self.parts.get(&LoraPart::Magnitude);
        match (settings.use_dora, magnitude) {
            (false, None) => Ok(()),
            (false, Some(_)) => Err(Error::Key {
                key: self.key(LoraPart::Magnitude),
                reason: "it belongs to DoRA, and use_dora is false",
            }),
            (true, None) => Err(Error::MissingKey {
                key: self.key(LoraPart::Magnitude),
            }),
            (true, Some(data)) if data.num_elements() == width => Ok(()),
            (true, Some(data)) => {
                let key = self.key(LoraPart::Magnitude);
                Err(wrong(&key, data, format!("{width} elements")))
            }
        }
    }

    /// Check both factors; the width of the output.
    fn factors(
        &self,
        (a, a_data): (LoraPart, &TensorData),
        (b, b_data): (LoraPart, &TensorData),
        rank: usize,
    ) -> Result<usize, Error> {
        let (a_shape, b_shape) = (a_data.shape().as_slice(), b_data.shape().as_slice());
        // A linear layer has two axes, a convolution two more or fewer of them.
        let axes = a_shape.len();
        let linear = matches!(a, LoraPart::EmbeddingA) || axes == 2;
        if a_shape.first() != Some(&rank) || axes < 2 || (linear && axes != 2) {
            return Err(wrong(&self.key(a), a_data, format!("[{rank}, …]")));
        }
        match b_shape {
            [width, of_b, ..] if b_shape.len() == axes => {
                // The B of a convolution in groups reads a group of the rank at a time.
                let grouped = !linear && *of_b != 0 && rank.is_multiple_of(*of_b);
                if *of_b == rank || grouped {
                    return Ok(*width);
                }
            }
            _ => {}
        }
        let expected = match linear {
            true => format!("[…, {rank}]"),
            false => format!("[…, {rank}, …] with {axes} axes"),
        };
        Err(wrong(&self.key(b), b_data, expected))
    }

    fn part(&self, part: LoraPart) -> Result<&TensorData, Error> {
        let found = self.parts.get(&part).copied();
        found.ok_or_else(|| Error::MissingKey {
            key: self.key(part),
        })
    }

    fn key(&self, part: LoraPart) -> String {
        let module = self.name.to_string();
        AdapterKey::Lora { module, part }.name(&self.folder.config)
    }
}

fn wrong(key: &str, data: &TensorData, expected: String) -> Error {
    Error::Shape {
        key: key.into(),
        shape: data.shape().to_vec(),
        expected,
    }
}
