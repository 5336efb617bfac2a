//! Adapter folders of Hugging Face PEFT: `adapter_config.json` and `adapter_model.safetensors`.

mod check;
mod key;
mod placeholder;
mod prefix;
mod soft_prompt;
mod weights;
mod write;

pub(crate) use check::{by_module, of_model};
pub use key::AdapterKey;
pub use placeholder::Placeholder;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use burn::tensor::TensorData;

use crate::adapters::AdapterPart;
use crate::error::{Cause, Error};
use crate::methods::PeftConfig;

pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";
const PICKLED: &str = "adapter_model.bin";

/// An adapter as a folder holds it: the configuration and the tensors under PEFT's keys, in PEFT's
/// layout (A `[r, in]`, B `[out, r]`).
///
/// What is read has been checked on its own: every key is known, every A has its B, and ranks agree
/// with the configuration. Whether it fits a model is found when it is put there.
///
/// ```
/// use burn::tensor::TensorData;
/// use burn_peft::{AdapterFolder, LoraConfig};
///
/// let tensors = [("a.lora_A.weight", [2, 6]), ("a.lora_B.weight", [4, 2])];
/// let tensors = tensors.map(|(key, shape)| {
///     let key = format!("base_model.model.{key}");
///     (key, TensorData::zeros::<f32, _>(shape))
/// });
/// let config = LoraConfig::new().with_r(2).with_target_modules(["a"]);
/// let folder = AdapterFolder::new(config, tensors);
/// # let parent = tempfile::tempdir().unwrap();
/// # let path = parent.path().join("adapter");
/// folder.write(&path)?;
/// assert_eq!(AdapterFolder::read(&path)?.tensors, folder.tensors);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AdapterFolder {
    /// `adapter_config.json`
    pub config: PeftConfig,
    /// `adapter_model.safetensors`: f16, bf16, f32 or f64 by key.
    pub tensors: BTreeMap<String, TensorData>,
}

impl AdapterFolder {
    /// A folder with these contents; nothing is checked before it is written.
    pub fn new(
        config: impl Into<PeftConfig>,
        tensors: impl IntoIterator<Item = (String, TensorData)>,
    ) -> Self {
        Self {
            config: config.into(),
            tensors: tensors.into_iter().collect(),
        }
    }

    /// Read a folder.
    ///
    /// # Errors
    ///
    /// - [`Error::NoConfig`], [`Error::NoWeights`] if a file is not there; [`Error::Pickled`] if
    ///   the weights are a pickle, with the command that converts them
    /// - [`Error::File`] if the system cannot read one
    /// - [`Error::InFile`] with the file and what [`parse`](Self::parse) finds in it
    pub fn read(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let Some(config) = read_file(&folder.join(CONFIG))? else {
            return Err(Error::NoConfig {
                folder: folder.into(),
            });
        };
        let config =
            PeftConfig::parse(&config).map_err(|error| error.in_file(folder.join(CONFIG)))?;
        if let Some(weights) = read_file(&folder.join(WEIGHTS))? {
            let read = Self::with_weights(config, &weights);
            return read.map_err(|error| error.in_file(folder.join(WEIGHTS)));
        }
        let folder = folder.to_path_buf();
        Err(if folder.join(PICKLED).exists() {
            Error::Pickled { folder }
        } else {
            Error::NoWeights { folder }
        })
    }

    /// Read the contents of the two files.
    ///
    /// # Errors
    ///
    /// - what [`PeftConfig::parse`] finds
    /// - [`Error::Placeholder`] for an empty file, a Git LFS pointer or a web page
    /// - [`Error::Weights`] for a damaged file, [`Error::Dtype`] for integers and other types
    /// - what [`check`](Self::check) finds
    pub fn parse(config: &[u8], weights: &[u8]) -> Result<Self, Error> {
        Self::with_weights(PeftConfig::parse(config)?, weights)
    }

    fn with_weights(config: PeftConfig, weights: &[u8]) -> Result<Self, Error> {
        check_contents(weights)?;
        let folder = Self {
            config,
            tensors: weights::read(weights)?,
        };
        folder.check()?;
        Ok(folder)
    }

    /// Write both files; each is there as a whole or not at all.
    ///
    /// A new folder appears with both files at once. In a folder that is there, other files stay
    /// as they are and the two are put in place one after the other, the weights first: a crash
    /// between the two steps leaves new weights with the old configuration, an error leaves both
    /// files as they were.
    ///
    /// # Errors
    ///
    /// What [`check`](Self::check) finds, before anything is written; [`Error::File`] if the
    /// system cannot write a file.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<(), Error> {
        let (config, weights) = self.to_bytes()?;
        write::folder(folder.as_ref(), config.as_bytes(), &weights)
    }

    /// The contents of the two files.
    ///
    /// # Errors
    ///
    /// What [`check`](Self::check) finds.
    pub fn to_bytes(&self) -> Result<(String, Vec<u8>), Error> {
        self.check()?;
        Ok((self.config.to_json()?, weights::write(&self.tensors)?))
    }

    /// Check that the tensors are those of an adapter of this configuration.
    ///
    /// # Errors
    ///
    /// - what [`PeftConfig::validate`] finds, and [`Error::Pattern`] for a rank or alpha pattern
    ///   that is not a regular expression
    /// - [`Error::Key`] for a tensor that does not belong to it
    /// - [`Error::MissingKey`] for an A without B and the like, for missing DoRA magnitudes or
    ///   prompt embeddings, and if no module has an adapter
    /// - [`Error::Shape`] for shapes that do not agree with each other or with the rank
    /// - [`Error::Dtype`] for integers and other types
    pub fn check(&self) -> Result<(), Error> {
        check::folder(self)
    }

    /// The tensors with what their keys mean.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a tensor that does not belong to an adapter of this configuration.
    pub fn entries(&self) -> Result<Vec<(AdapterKey, &TensorData)>, Error> {
        let mut adapter = None;
        for key in self.tensors.keys() {
            let Some(found) = AdapterKey::adapter_name(key, &self.config) else {
                continue;
            };
            if *adapter.get_or_insert(found) != found {
                return Err(Error::Key {
                    key: key.clone(),
                    reason: "it has the name of another adapter than the keys before it: write \
                             the adapters into files of their own",
                });
            }
        }
        let tensors = self.tensors.iter();
        tensors
            .map(|(key, data)| Ok((AdapterKey::parse_of(key, &self.config, adapter)?, data)))
            .collect()
    }

    /// Names of the modules that have tensors of an adapter: what was adapted, whatever
    /// `target_modules` would choose in another model. Tables whose rows train are not among them.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a tensor that does not belong to an adapter of this configuration.
    pub fn adapted_modules(&self) -> Result<BTreeSet<String>, Error> {
        let entries = self.entries()?.into_iter();
        let modules = entries.filter_map(|(key, _)| match key {
            AdapterKey::Adapter { module, part } if part != AdapterPart::TRAINABLE_TOKENS => {
                Some(module)
            }
            _ => None,
        });
        Ok(modules.collect())
    }
}

/// What a folder that held `old` gets for the model's `new` value: its own tensor as it was where
/// the model only has it in another precision.
pub(crate) fn written(old: &TensorData, new: TensorData) -> TensorData {
    if old.clone().convert_dtype(new.dtype()) == new {
        return old.clone();
    }
    new.convert_dtype(old.dtype())
}

/// Fail if a file is something else than its name says.
pub(crate) fn check_contents(contents: &[u8]) -> Result<(), Error> {
    match Placeholder::of(contents) {
        Some(placeholder) => Err(Error::Placeholder { placeholder }),
        None => Ok(()),
    }
}

/// The contents of a file, `None` if it is not there.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refused(path, error)),
    }
}

fn refused(path: &Path, error: std::io::Error) -> Error {
    Error::File {
        path: path.into(),
        source: Cause::new(error),
    }
}
