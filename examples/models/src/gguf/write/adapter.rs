//! LoRA adapters of language models.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;
use burn_peft::folder::AdapterKey;
use burn_peft::settings::Bias;
use burn_peft::{AdapterFolder, AdapterPart, LoraConfig, PeftConfig};
use candle_core::quantized::GgmlDType;

use super::super::family::Family;
use super::tensors::{Layout, quantized};
use super::{family_of, metadata, write};
use crate::error::Error;
use crate::llama::LlamaConfig;
use crate::message::short;

/// Write a LoRA adapter of a language model as a GGUF file that llama.cpp puts on the GGUF file of the same model
/// (`--lora`).
///
/// `base` is the Hugging Face folder or GGUF file of the model. The factors have 32 bits. llama.cpp adds
/// `adapter.lora.alpha` divided by the rank of a layer times the product of its factors; where a layer's scale is another
/// one (rsLoRA, patterns of ranks and alphas), its second factor takes up the rest.
///
/// # Errors
///
/// [`Error::Gguf`] for what such a file cannot hold: other methods than LoRA, DoRA, biases, modules that are saved in
/// full, and adapters of the table of embeddings or of a head that shares it. Merge these instead. [`Error::Weights`] if
/// the file cannot be written; those of [`LlamaConfig::from_folder`] for `base`.
pub fn write_gguf_adapter(adapter: &AdapterFolder, base: &Path, path: &Path) -> Result<(), Error> {
    let failed = |reason: String| Error::Weights {
        path: path.into(),
        reason,
    };
    let refused = |reason: String| Error::Gguf { reason };
    let config = lora(adapter).map_err(refused)?;
    let family = family_of(base)?;
    let model = LlamaConfig::from_folder(base)?;
    let layout = Layout::of(&model, family);
    let mut tensors = Vec::new();
    for (module, [a, b]) in factors(adapter).map_err(refused)? {
        let name = stored_name(&module, &model, family).map_err(refused)?;
        let ([rank, width], [rows, _]) = (shape(a), shape(b));
        let scale = config
            .scale_of(&module)
            .map_err(|error| refused(error.to_string()))?;
        let rest = (scale * rank as f64 / config.lora_alpha) as f32;
        let mut values = floats(b);
        if rest != 1.0 {
            values.iter_mut().for_each(|value| *value *= rest);
        }
        let values = layout.stored(&format!("{module}.weight"), values, &[rows, rank]);
        let stored =
            |values, shape: [usize; 2]| quantized(values, &shape, GgmlDType::F32).map_err(failed);
        tensors.push((format!("{name}.lora_a"), stored(floats(a), [rank, width])?));
        tensors.push((format!("{name}.lora_b"), stored(values, [rows, rank])?));
    }
    let metadata = metadata::of_adapter(base, config.lora_alpha)?;
    write(path, &metadata, &tensors).map_err(failed)
}

const MERGE: &str = "merge the adapter and write the model instead (`finetune merge --gguf`)";

/// The settings, if a GGUF file can hold the adapter.
fn lora(adapter: &AdapterFolder) -> Result<&LoraConfig, String> {
    let refuse = |found: &str| Err(format!("{found} cannot be in a GGUF file of LoRA: {MERGE}"));
    if adapter.config.virtual_tokens().is_some() {
        return Err("a soft prompt cannot be in a GGUF file: expected LoRA".into());
    }
    let PeftConfig::Lora(config) = &adapter.config else {
        return Err(format!(
            "an adapter of the method {} cannot be in a GGUF file, expected LoRA: {MERGE}",
            adapter.config.peft_type()
        ));
    };
    if config.use_dora {
        return refuse("DoRA");
    }
    if config.bias != Bias::None {
        return refuse("trained biases");
    }
    // A scale of zero leaves nothing that could be divided by it.
    if config.lora_alpha == 0.0 {
        return refuse("an alpha of 0");
    }
    Ok(config)
}

/// The two factors of every module.
fn factors(adapter: &AdapterFolder) -> Result<BTreeMap<String, [&TensorData; 2]>, String> {
    let entries = adapter.entries().map_err(|error| error.to_string())?;
    let mut found: BTreeMap<String, [Option<&TensorData>; 2]> = BTreeMap::new();
    for (key, data) in entries {
        let (module, part) = match key {
            AdapterKey::Adapter { module, part } => (module, part),
            // A copy without effect.
            AdapterKey::Original { .. } => continue,
            AdapterKey::Saved { module, .. }
            | AdapterKey::Bias { module }
            | AdapterKey::Base { module, .. } => {
                return Err(format!(
                    "`{}` is saved in full, which cannot be in a GGUF file of LoRA: {MERGE}",
                    short(&module)
                ));
            }
            _ => return Err(format!("a tensor of the whole model: {MERGE}")),
        };
        let place = match part {
            AdapterPart::LORA_A => 0,
            AdapterPart::LORA_B => 1,
            _ => {
                return Err(format!(
                    "the adapter of `{}` is not one of a linear layer, which alone are written: {MERGE}",
                    short(&module)
                ));
            }
        };
        found.entry(module).or_default()[place] = Some(data);
    }
    let whole = found
        .into_iter()
        .filter_map(|(module, [a, b])| Some((module, [a?, b?])));
    Ok(whole.collect())
}

/// The name of a module's weight in the model's own file.
fn stored_name(module: &str, model: &LlamaConfig, family: &Family) -> Result<String, String> {
    let shown = short(module);
    if module == "lm_head" && model.tie_word_embeddings {
        return Err(format!(
            "`{shown}` shares the table of embeddings, and a GGUF file has no head to put an adapter on: {MERGE}"
        ));
    }
    // Adapters of the class without a head have names without `model.`.
    let with_prefix = format!("model.{module}");
    let names = [module, &with_prefix].map(|name| family.stored(&format!("{name}.weight")));
    let name = names.into_iter().flatten().next();
    name.ok_or_else(|| {
        format!(
            "`{shown}` is not a module of a model of the kind {}",
            family.model_type
        )
    })
}

fn shape(data: &TensorData) -> [usize; 2] {
    let shape = data.shape();
    match shape.as_slice() {
        [rows, columns] => [*rows, *columns],
        // `AdapterFolder::check` has seen to it.
        _ => [0, 0],
    }
}

fn floats(data: &TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}
