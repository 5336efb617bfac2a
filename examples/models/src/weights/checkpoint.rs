//! The weight files of a folder, opened lazily.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::store::burn_pack::Tensor;
use burn::store::{ModuleStore, SafetensorsStore, SafetensorsStoreError};
use serde::Deserialize;

use super::read_json;
use crate::error::Error;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

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
                reason: format!("`{name}` holds {:?}, expected floats", tensor.dtype),
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

/// An error that helps where the folder holds weights in another format.
fn exists(folder: &Path, single: &Path) -> Result<(), Error> {
    let pickled = folder.join("pytorch_model.bin");
    if single.exists() || !pickled.exists() {
        return Ok(());
    }
    Err(Error::Weights {
        path: pickled,
        reason: format!(
            "pickled weights are not read; convert them in Python with \
             `AutoModel.from_pretrained(folder).save_pretrained(folder)`, which writes {SINGLE}"
        ),
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
                reason: format!("`{file}` is not the name of a file in the folder"),
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

/// The tensors of one file, from its header alone.
fn read(path: &Path) -> Result<BTreeMap<String, (PathBuf, Tensor)>, Error> {
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
