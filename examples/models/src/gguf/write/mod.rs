//! Language models and their adapters as GGUF files.

mod adapter;
mod metadata;
mod rope_table;
mod tensors;
mod tokenizer;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{self, Value};
use serde::Deserialize;
use serde_json::Map;

pub use adapter::write_gguf_adapter;
pub use tensors::GgufType;

use super::family::{FAMILIES, Family};
use crate::error::Error;
use crate::llama::LlamaForCausalLM;
use crate::weights::{read_config, values};
use tensors::{Layout, stored};

/// Write a language model as a GGUF file.
///
/// Names, layouts and metadata are those of llama.cpp's converter. `base` is the Hugging Face folder or the GGUF file that
/// the model was made from. The metadata of a GGUF file are copied, with tokenizer and chat template. For a folder they
/// are made from its configuration and `tokenizer.json`, whose tokens must be those of a byte-level BPE that llama.cpp
/// has a name for (`gpt-2`, `llama-bpe`, `qwen2` or `smollm`); `chat_template` goes with them.
///
/// Matrices have the wanted type. Vectors have 32 bits, and matrices whose rows do not fill the blocks of the type are in
/// F16.
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::gguf::{GgufFile, GgufType, write_gguf};
/// use burn_hf_models::llama::LlamaForCausalLM;
///
/// let base = "tests/fixtures/gguf/llama.gguf".as_ref();
/// let model = LlamaForCausalLM::load(base, &Device::flex())?;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.gguf");
/// write_gguf(&model, base, None, &path, GgufType::F16)?;
/// let written = GgufFile::open(&path)?;
/// assert_eq!(written.config()?, GgufFile::open(base)?.config()?);
/// assert_eq!(written.chat_template(None), GgufFile::open(base)?.chat_template(None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Weights`] for a kind of models or tokenizer that is not written, and if the file cannot be written;
/// those of [`read_config`](crate::weights::read_config) for `base`.
pub fn write_gguf(
    model: &LlamaForCausalLM,
    base: &Path,
    chat_template: Option<&str>,
    path: &Path,
    kind: GgufType,
) -> Result<(), Error> {
    let failed = |reason: String| Error::Weights {
        path: path.into(),
        reason,
    };
    let family = family_of(base)?;
    let metadata = metadata::of_model(model, base, family, chat_template, kind)?;
    let layout = Layout::of(model.config(), family);
    let names = LlamaForCausalLM::names();
    let mut tensors = Vec::new();
    for value in values(model, &names[0]).map_err(failed)? {
        let Some(name) = family.stored(&value.name) else {
            return Err(failed(format!(
                "`{}` has no name in a GGUF file of the kind {}",
                value.name, family.architecture
            )));
        };
        let floats = layout.stored(&value.name, value.floats().map_err(failed)?, &value.shape);
        let tensor = stored(floats, &value.shape, kind).map_err(failed)?;
        tensors.push((name, tensor));
    }
    tensors.extend(rope_table::tables(model.config(), base)?);
    write(path, &metadata, &tensors).map_err(failed)
}

/// The kind of models of a folder or GGUF file in GGUF's words.
fn family_of(base: &Path) -> Result<&'static Family, Error> {
    #[derive(Deserialize)]
    struct Kind {
        model_type: String,
    }
    let Kind { model_type } = read_config(base)?;
    // Mistral's models are stored as Llama's.
    let wanted = match model_type.as_str() {
        "mistral" => "llama",
        other => other,
    };
    let mut families = FAMILIES.iter();
    families
        .find(|family| family.model_type == wanted)
        .ok_or_else(|| Error::Weights {
            path: base.into(),
            reason: format!(
                "models of the kind {} are not written as GGUF files; expected mistral, {}",
                crate::message::short(&model_type),
                Family::known()
            ),
        })
}

/// Write metadata and tensors into a file, which is on the disk then.
fn write(
    path: &Path,
    metadata: &[(String, Value)],
    tensors: &[(String, QTensor)],
) -> Result<(), String> {
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let written = || -> Result<(), String> {
        let file = File::create(path).map_err(|error| error.to_string())?;
        let mut file = BufWriter::new(file);
        gguf_file::write(&mut file, &metadata, &tensors).map_err(|error| error.to_string())?;
        file.flush().map_err(|error| error.to_string())?;
        file.get_ref().sync_all().map_err(|error| error.to_string())
    };
    written()
}

/// A field of a configuration as JSON has it.
type Json = Map<String, serde_json::Value>;

#[cfg(test)]
mod tests;
