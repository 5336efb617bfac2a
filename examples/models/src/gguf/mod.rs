//! Models in GGUF files, as llama.cpp and its relatives store them.
//!
//! A GGUF file takes the place of a Hugging Face folder: the functions of [`weights`](crate::weights) and the models'
//! `from_folder` take the path of one. Its metadata are turned into `config.json`, a tokenizer and a chat template,
//! its tensors have the names and layouts of `transformers`, and their values are read and turned into floats when
//! they are used.

mod block;
mod config;
mod family;
mod header;
mod tokenizer;
mod value;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub use value::GgufValue;
pub use write::{GgufType, write_gguf, write_gguf_adapter};

use crate::error::Error;
use crate::place::is_gguf;
use family::{Family, ROPE_TABLES, into_halves};
use header::{Failure, Header, TensorInfo};

/// A model in a GGUF file.
///
/// ```no_run
/// use burn_hf_models::gguf::GgufFile;
/// use burn_hf_models::llama::LlamaForCausalLM;
///
/// let path = "SmolLM2-135M-Instruct.Q4_1.gguf".as_ref();
/// let file = GgufFile::open(path)?;
/// assert_eq!(file.config()?["num_hidden_layers"], 30);
/// assert!(file.chat_template(None).is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    metadata: BTreeMap<String, GgufValue>,
    tensors: Vec<TensorInfo>,
    family: &'static Family,
}

/// A tensor under its name in `transformers`.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub name: String,
    pub shape: Vec<usize>,
    path: PathBuf,
    info: TensorInfo,
    change: Change,
}

/// What is undone after values were read.
#[derive(Debug, Clone, Copy)]
enum Change {
    None,
    /// Rotary pairs side by side, in this number of heads.
    Interleaved(usize),
    /// One that was added.
    PlusOne,
}

impl GgufFile {
    /// Whether a path names a GGUF file and not a folder: a file whose name ends in `.gguf`.
    pub fn is_named(path: &Path) -> bool {
        is_gguf(path)
    }

    /// Read the header of a file.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if there is no such file, [`Error::Weights`] if it is damaged, stores tensors in a way that is
    /// not read (IQ and MXFP4 blocks), is one part of several, or holds a model of a kind that is not read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.into(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let failed = |reason| Error::Weights {
            path: path.into(),
            reason,
        };
        let header = Header::read(BufReader::new(file), size).map_err(|failure| match failure {
            Failure::Io(source) => read(source),
            Failure::Format(reason) => failed(reason),
        })?;
        let Header { metadata, tensors } = header;
        let text = |key: &str| metadata.get(key).and_then(GgufValue::as_str);
        if metadata
            .get("split.count")
            .and_then(GgufValue::as_usize)
            .is_some_and(|parts| parts > 1)
        {
            return Err(failed(
                "this is one part of a file in several parts; join them with llama.cpp's `llama-gguf-split --merge`"
                    .into(),
            ));
        }
        let architecture = text("general.architecture").unwrap_or_default();
        let Some(family) = Family::of(architecture) else {
            return Err(failed(format!(
                "general.architecture is `{}`; expected {}",
                crate::message::short(architecture),
                Family::known()
            )));
        };
        Ok(Self {
            path: path.into(),
            metadata,
            tensors,
            family,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A value of the metadata.
    pub fn metadata(&self, key: &str) -> Option<&GgufValue> {
        self.metadata.get(key)
    }

    /// The chat template, if there is one; some files have further ones by `name`.
    pub fn chat_template(&self, name: Option<&str>) -> Option<&str> {
        const KEY: &str = "tokenizer.chat_template";
        let key = match name {
            None | Some("default") => KEY.to_string(),
            Some(name) => format!("{KEY}.{name}"),
        };
        self.metadata.get(&key).and_then(GgufValue::as_str)
    }

    /// The tensors under their names in `transformers`.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, Error> {
        let heads = |key: &str| {
            let key = format!("{}.attention.{key}", self.family.architecture);
            self.metadata.get(&key).and_then(GgufValue::as_usize)
        };
        let queries = heads("head_count").unwrap_or(1);
        let keys = heads("head_count_kv").unwrap_or(queries);
        let stored = self.tensors.iter();
        let stored = stored.filter(|info| !ROPE_TABLES.contains(&info.name.as_str()));
        stored
            .map(|info| {
                let Some(name) = self.family.name(&info.name) else {
                    return self.failed(format!(
                        "`{}` is not a tensor of a model of the kind {}",
                        crate::message::short(&info.name),
                        self.family.architecture
                    ));
                };
                let module = name.rsplit('.').nth(1).unwrap_or_default();
                let change = match module {
                    "q_proj" if self.family.interleaved => Change::Interleaved(queries),
                    "k_proj" if self.family.interleaved => Change::Interleaved(keys),
                    module if self.family.norms_plus_one && module.ends_with("norm") => {
                        Change::PlusOne
                    }
                    _ => Change::None,
                };
                if let Change::Interleaved(heads) = change {
                    let rows = info.shape.first().copied().unwrap_or(0);
                    if heads == 0 || !rows.is_multiple_of(2 * heads) {
                        return self.failed(format!(
                            "`{}` has {rows} rows, which {heads} heads with rotary pairs cannot share",
                            info.name
                        ));
                    }
                }
                Ok(Entry {
                    name,
                    shape: info.shape.clone(),
                    path: self.path.clone(),
                    info: info.clone(),
                    change,
                })
            })
            .collect()
    }

    fn info(&self, stored: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|info| info.name == stored)
    }

    /// The values of a tensor by its name in the file.
    fn values(&self, stored: &str) -> Result<Vec<f32>, Error> {
        let Some(info) = self.info(stored) else {
            return self.failed(format!("expected a tensor `{stored}`"));
        };
        read(&self.path, info).map_err(|reason| Error::Weights {
            path: self.path.clone(),
            reason,
        })
    }

    fn failed<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::Weights {
            path: self.path.clone(),
            reason: reason.into(),
        })
    }
}

impl Entry {
    /// The values in the layout of `transformers`.
    pub fn values(&self) -> Result<Vec<f32>, String> {
        let mut values = read(&self.path, &self.info)?;
        match self.change {
            Change::None => {}
            Change::Interleaved(heads) => {
                let rows = self.info.shape.first().copied().unwrap_or(1).max(1);
                values = into_halves(&values, heads, values.len() / rows);
            }
            Change::PlusOne => values.iter_mut().for_each(|value| *value -= 1.0),
        }
        Ok(values)
    }
}

fn read(path: &Path, info: &TensorInfo) -> Result<Vec<f32>, String> {
    let blocks = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(info.start))?;
        let mut blocks = vec![0; info.bytes];
        file.read_exact(&mut blocks)?;
        Ok(blocks)
    };
    let blocks = blocks().map_err(|error: std::io::Error| format!("`{}`: {error}", info.name))?;
    let values = info.block.values(&blocks);
    values.map_err(|error| format!("`{}`: {error}", info.name))
}

#[cfg(test)]
mod tests;
