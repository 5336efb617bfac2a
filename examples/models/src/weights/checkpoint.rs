//! The weight files of a folder, opened lazily.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::store::burn_pack::{self, Tensor};
use burn::store::{ModuleStore, SafetensorsStore, SafetensorsStoreError};
use burn::tensor::{Bytes, DType, TensorData};
use serde::Deserialize;

use super::content::{self, Kind};
use super::json::read_json;
use crate::error::Error;
use crate::gguf::GgufFile;
use crate::llama::family::FAMILIES;
use crate::message::short;

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Tensors of all weight files of a folder; their values are read when they are used.
pub(super) struct Checkpoint {
    folder: PathBuf,
    tensors: BTreeMap<String, (PathBuf, Tensor)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    pub fn open(folder: &Path) -> Result<Self, Error> {
        if GgufFile::is_named(folder) {
            return Ok(Self {
                folder: folder.into(),
                tensors: from_gguf(folder)?,
            });
        }
        let single = folder.join(SINGLE);
        let index = folder.join(INDEX);
        let tensors = if single.exists() || !index.exists() {
            exists(folder, &single)?;
            read(&single)?
        } else {
            sharded(folder, &index)?
        };
        Ok(Self {
            folder: folder.into(),
            tensors,
        })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u128 {
        let tensors = self.tensors.values();
        tensors.map(|(_, tensor)| tensor.byte_len() as u128).sum()
    }

    /// Whether two tensors have the same shape and values.
    pub fn same(&self, name: &str, copy: &str) -> Result<bool, Error> {
        let (Some((path, one)), Some((_, other))) =
            (self.tensors.get(name), self.tensors.get(copy))
        else {
            return Ok(false);
        };
        if one.shape != other.shape {
            return Ok(false);
        }
        let bytes = |tensor: &Tensor| {
            tensor.to_bytes().map_err(|error| Error::Weights {
                path: path.clone(),
                reason: error.to_string(),
            })
        };
        let (left, right) = (bytes(one)?, bytes(other)?);
        if one.dtype == other.dtype {
            return Ok(left[..] == right[..]);
        }
        // Of two float types: the wider one may hold the values of the narrower one.
        let values = |bytes, tensor: &Tensor| {
            let data = TensorData::from_bytes(bytes, tensor.shape.to_vec(), tensor.dtype);
            data.iter::<f64>().collect::<Vec<_>>()
        };
        Ok(one.dtype.is_float()
            && other.dtype.is_float()
            && values(left, one) == values(right, other))
    }

    /// The file that holds a tensor, or the folder.
    pub fn file(&self, name: &str) -> &Path {
        let tensor = self.tensors.get(name);
        tensor.map_or(&self.folder, |(path, _)| path)
    }

    /// Check that a tensor holds floats and has a shape.
    pub fn check(&self, name: &str, expected: &[usize]) -> Result<(), Error> {
        let Some((path, tensor)) = self.tensors.get(name) else {
            return Err(Error::Missing {
                path: self.folder.clone(),
                names: vec![name.into()],
            });
        };
        if !tensor.dtype.is_float() {
            return Err(Error::Weights {
                path: path.clone(),
                reason: format!(
                    "`{}`: expected floats, found {:?}",
                    short(name),
                    tensor.dtype
                ),
            });
        }
        if tensor.shape[..] != *expected {
            return Err(Error::Shape {
                path: path.clone(),
                name: name.into(),
                expected: expected.into(),
                found: tensor.shape.to_vec(),
            });
        }
        Ok(())
    }

    /// A tensor, not read yet, under the path of a parameter.
    pub fn take(&self, name: &str, path: &str) -> Option<Tensor> {
        let (_, tensor) = self.tensors.get(name)?;
        let mut tensor = tensor.clone();
        tensor.name = path.into();
        Some(tensor)
    }
}

/// The names of a folder's tensors, from headers or the index alone; `None` if there are no weights.
pub(super) fn names(folder: &Path) -> Result<Option<Vec<String>>, Error> {
    if GgufFile::is_named(folder) {
        let entries = GgufFile::open(folder)?.entries()?.into_iter();
        return Ok(Some(entries.map(|entry| entry.name).collect()));
    }
    let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
    if single.exists() {
        return Ok(Some(read(&single)?.into_keys().collect()));
    }
    if index.exists() {
        let Index { weight_map } = read_json(&index)?;
        return Ok(Some(weight_map.into_keys().collect()));
    }
    Ok(None)
}

/// Weights in other formats, as `transformers` names them.
const OTHERS: [&str; 4] = [
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
];

/// An error that helps where the folder holds weights in another format.
fn exists(folder: &Path, single: &Path) -> Result<(), Error> {
    let mut others = OTHERS.iter().map(|name| folder.join(name));
    let Some(other) = others
        .find(|path| path.exists())
        .filter(|_| !single.exists())
    else {
        return Ok(());
    };
    let class = class(folder);
    Err(Error::Weights {
        path: other,
        reason: format!(
            "weights in this format are not read; convert them in Python with `from transformers import {class}; \
             {class}.from_pretrained(folder).save_pretrained(folder)`, which writes {SINGLE}"
        ),
    })
}

/// The class of `transformers` that reads all weights of a folder. `AutoModel` is the class without a head: what it
/// saves again lacks the head.
fn class(folder: &Path) -> String {
    #[derive(Deserialize)]
    struct Kind {
        model_type: Option<String>,
        architectures: Option<Vec<String>>,
    }
    let kind: Result<Kind, Error> = read_json(&folder.join("config.json"));
    let kind = kind.unwrap_or(Kind {
        model_type: None,
        architectures: None,
    });
    let named = kind.architectures.unwrap_or_default().into_iter().next();
    let named = named.filter(|name| {
        // A name of Python that current versions still have.
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric());
        is_name && name.len() < 60 && !name.is_empty() && name != "T5WithLMHeadModel"
    });
    named.unwrap_or_else(|| {
        let mut families = FAMILIES.iter();
        let model_type = kind.model_type.as_deref();
        let family = families.find(|family| Some(family.model_type) == model_type);
        if let Some(family) = family {
            return format!("{}ForCausalLM", family.class);
        }
        let class = match model_type {
            Some("t5") => "T5ForConditionalGeneration",
            Some("bert") => "BertForPreTraining",
            Some("roberta") => "RobertaForMaskedLM",
            Some("distilbert") => "DistilBertForMaskedLM",
            Some("modernbert") => "ModernBertForMaskedLM",
            Some("vit") => "ViTForImageClassification",
            Some("dinov2") => "Dinov2Model",
            _ => "AutoModelForCausalLM",
        };
        class.into()
    })
}

fn sharded(folder: &Path, index: &Path) -> Result<BTreeMap<String, (PathBuf, Tensor)>, Error> {
    let Index { weight_map } = read_json(index)?;
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, file) in weight_map {
        shards.entry(file).or_default().push(name);
    }
    let mut tensors = BTreeMap::new();
    for (file, names) in shards {
        // Nothing outside the folder, whatever the index says.
        if Path::new(&file)
            .file_name()
            .is_none_or(|name| name != file.as_str())
        {
            return Err(Error::Json {
                path: index.into(),
                reason: format!("`{}` is not the name of a file in the folder", short(&file)),
            });
        }
        let path = folder.join(file);
        let mut shard = read(&path)?;
        let mut missing = Vec::new();
        for name in names {
            match shard.remove(&name) {
                Some(tensor) => drop(tensors.insert(name, tensor)),
                None => missing.push(name),
            }
        }
        if !missing.is_empty() {
            return Err(Error::Missing {
                path,
                names: missing,
            });
        }
    }
    Ok(tensors)
}

/// The tensors of a GGUF file, from its header alone. Their values become floats of 32 bits when they are used.
fn from_gguf(path: &Path) -> Result<BTreeMap<String, (PathBuf, Tensor)>, Error> {
    let entries = GgufFile::open(path)?.entries()?;
    let mut tensors = BTreeMap::new();
    for entry in entries {
        let name = entry.name.clone();
        let shape = entry.shape.clone();
        let bytes = 4 * shape.iter().product::<usize>();
        let read = move || {
            let values = entry.values().map_err(burn_pack::Error::IoError)?;
            Ok(Bytes::from_elems(values))
        };
        let tensor = Tensor::deferred(name.clone(), DType::F32, shape, None, bytes, read);
        tensors.insert(name, (path.to_path_buf(), tensor));
    }
    Ok(tensors)
}

/// The tensors of one file, from its header alone.
fn read(path: &Path) -> Result<BTreeMap<String, (PathBuf, Tensor)>, Error> {
    content::check(path, Kind::Weights)?;
    let mut store = SafetensorsStore::from_file(path);
    let tensors = store.get_all_tensors().map_err(|error| match error {
        SafetensorsStoreError::Io(source) => Error::Read {
            path: path.into(),
            source,
        },
        error => Error::Weights {
            path: path.into(),
            reason: error.to_string(),
        },
    })?;
    let tensors = tensors.iter();
    Ok(tensors
        .map(|(name, tensor)| (name.clone(), (path.to_path_buf(), tensor.clone())))
        .collect())
}
