//! A model as the weight files of a `transformers` folder, which may be several.

use std::fs::File;
use std::path::Path;

use burn::module::Module;
use burn::tensor::DType;
use burn_peft::NameMap;
use serde_json::{Map, Value as Json, json};

use super::checkpoint::{INDEX, SINGLE};
use super::save::{Value, values, write, zeros};
use crate::error::Error;

/// How the weights of a folder are written.
///
/// ```
/// use burn::tensor::DType;
/// use burn_hf_models::weights::SaveOptions;
///
/// let options = SaveOptions::default().with_dtype(DType::BF16).with_max_shard(1 << 30);
/// ```
#[derive(Debug, Clone)]
pub struct SaveOptions {
    dtype: Option<DType>,
    max_shard: u64,
}

impl Default for SaveOptions {
    /// In the types of the parameters, in files of at most 5 GB.
    fn default() -> Self {
        Self {
            dtype: None,
            max_shard: 5_000_000_000,
        }
    }
}

impl SaveOptions {
    /// All values in this float type.
    pub fn with_dtype(self, dtype: DType) -> Self {
        Self {
            dtype: Some(dtype),
            ..self
        }
    }

    /// At most so many bytes of tensors in a file; a larger tensor has a file of its own.
    pub fn with_max_shard(self, bytes: u64) -> Self {
        Self {
            max_shard: bytes,
            ..self
        }
    }
}

/// Write all float parameters of a model into a folder: as `model.safetensors`, or in several files with
/// `model.safetensors.index.json` where they are larger than one file may be. The values of one file at a time are in
/// memory a second time.
///
/// Otherwise as [`save`](super::save).
///
/// ```
/// use burn::tensor::{DType, Device};
/// use burn_hf_models::llama::{LlamaConfig, LlamaForCausalLM};
/// use burn_hf_models::weights::{SaveOptions, save_folder};
///
/// let folder = tempfile::tempdir()?;
/// let model = LlamaConfig::new(100, 32, 64, 2, 4).init(&Device::flex())?;
/// let options = SaveOptions::default().with_dtype(DType::BF16).with_max_shard(20_000);
/// save_folder(&model, &LlamaForCausalLM::names()[0], &[], folder.path(), &options)?;
/// assert!(folder.path().join("model.safetensors.index.json").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Weights`] if a file cannot be written, a parameter is no float of 16 bits or more, or a value is beyond the
/// range of the wanted type.
pub fn save_folder<M: Module>(
    model: &M,
    names: &NameMap,
    unused: &[(&str, Vec<usize>)],
    folder: &Path,
    options: &SaveOptions,
) -> Result<(), Error> {
    let failed = |path: &Path, reason: String| Error::Weights {
        path: path.into(),
        reason,
    };
    let dtype = options.dtype;
    let mut all = values(model, names).map_err(|reason| failed(folder, reason))?;
    all.extend(zeros(unused, dtype.unwrap_or(DType::F32)));
    let total: u64 = all.iter().map(|value| value.bytes(dtype)).sum();
    let shards = shards(all, dtype, options.max_shard);
    let count = shards.len();
    let mut places = Map::new();
    for (number, values) in shards.into_iter().enumerate() {
        let name = match count {
            1 => SINGLE.to_string(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        let path = folder.join(&name);
        write(&values, dtype, &path).map_err(|reason| failed(&path, reason))?;
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(|error| failed(&path, error.to_string()))?;
        for value in values {
            places.insert(value.name, name.clone().into());
        }
    }
    if count > 1 {
        places.sort_keys();
        let index = json!({"metadata": {"total_size": total}, "weight_map": Json::Object(places)});
        let path = folder.join(INDEX);
        std::fs::write(&path, format!("{index:#}\n"))
            .map_err(|error| failed(&path, error.to_string()))?;
    }
    Ok(())
}

/// The tensors of each file, in the order of the model.
fn shards(values: Vec<Value>, dtype: Option<DType>, most: u64) -> Vec<Vec<Value>> {
    let mut shards = vec![Vec::new()];
    let mut size = 0;
    for value in values {
        let bytes = value.bytes(dtype);
        if size > 0 && size + bytes > most {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        shards.last_mut().expect("there is one").push(value);
    }
    shards
}
