//! Merging into language models, whose head may be the table of embeddings.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_hf_models::llama::{LlamaForCausalLM, LlamaInput};
use burn_peft::{AdapterFolder, NameMap, Peft};

use super::NAME;
use crate::error::Error;

/// Largest difference of logits, relative to the largest one, between a model with an adapter and the merged one.
const TOLERANCE: f32 = 1e-3;

/// A merged language model.
pub(super) struct Merged {
    pub model: LlamaForCausalLM,
    /// Whether its head is no longer the table, as it was in the base.
    pub is_untied: bool,
}

pub(super) fn names() -> Vec<NameMap> {
    LlamaForCausalLM::names()
}

/// The model of a folder or GGUF file with the adapter in its weights.
///
/// An adapter that changes the table and not the head that shares it, or the other way round, is merged into a model
/// with a head of its own.
pub(super) fn merged(
    base: &Path,
    adapter: Option<&AdapterFolder>,
    device: &Device,
) -> Result<Merged, Error> {
    let tied = |model| Merged {
        model,
        is_untied: false,
    };
    let model = LlamaForCausalLM::load(base, device)?;
    let Some(adapter) = adapter else {
        return Ok(tied(model));
    };
    let adapted = model.load_adapter(NAME, adapter, &names())?;
    let refused = match adapted.clone().merge_and_unload() {
        Ok(model) => return Ok(tied(model)),
        Err(error @ burn_peft::Error::TiedMerge { .. }) => error,
        Err(error) => return Err(error.into()),
    };
    let expected = logits(&adapted, device)?;
    drop(adapted);
    let untied = LlamaForCausalLM::load_untied(base, device)?;
    let model = untied.load_adapter(NAME, adapter, &names())?;
    let model = model.merge_and_unload()?;
    // Whatever PEFT means by a folder for a tied model: what is written computes it, or is not written.
    let difference = (logits(&model, device)? - expected.clone()).abs().max();
    let difference = difference / expected.abs().max();
    if difference.into_scalar::<f32>() > TOLERANCE {
        return Err(refused.into());
    }
    Ok(Merged {
        model,
        is_untied: true,
    })
}

/// The logits of some tokens, spread over the vocabulary.
fn logits(model: &LlamaForCausalLM, device: &Device) -> Result<Tensor<3>, Error> {
    const TOKENS: usize = 16;
    let vocabulary = model.config().vocab_size;
    let ids: Vec<i64> = (0..TOKENS)
        .map(|place| ((2 * place + 1) * vocabulary / (2 * TOKENS)) as i64)
        .collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, TOKENS]), device);
    Ok(model.forward(LlamaInput::new(ids))?.logits)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use burn::tensor::TensorData;
    use burn_peft::LoraConfig;

    use super::*;

    fn base(name: &str) -> PathBuf {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures");
        fixtures.join(name)
    }

    /// An adapter of these modules with values other than the initial ones, and a factor other than 1.
    fn adapter(base: &Path, modules: &[&str], saved: &[&str]) -> AdapterFolder {
        let device = Device::flex().autodiff();
        let mut config = LoraConfig::new()
            .with_r(2)
            .with_lora_alpha(6.0)
            .with_target_modules(modules.to_vec());
        if !saved.is_empty() {
            config = config.with_modules_to_save(saved.iter().copied());
        }
        let model = LlamaForCausalLM::load(base, &device).unwrap();
        let model = model.adapt(NAME, &config, &names()).unwrap();
        let mut folder = model.save_adapter(NAME, &config, &names()).unwrap();
        for data in folder.tensors.values_mut() {
            let old = data.iter::<f32>().enumerate();
            let new = old.map(|(place, value)| value + 0.2 * (place as f32 * 0.7).sin());
            *data = TensorData::new(new.collect::<Vec<f32>>(), data.shape().clone());
        }
        folder
    }

    #[test]
    fn merged_models_compute_what_their_adapters_do() {
        let device = Device::flex();
        for (name, modules, saved, is_untied) in [
            (
                "families/gemma2",
                &["q_proj", "down_proj"][..],
                &[][..],
                false,
            ),
            ("families/gemma2", &["embed_tokens"], &[], true),
            ("families/smollm3", &["lm_head", "v_proj"], &[], true),
            ("families/qwen3", &["embed_tokens", "lm_head"], &[], true),
            ("families/qwen3", &["k_proj"], &["lm_head"], true),
            ("families/phi3", &["qkv_proj", "gate_up_proj"], &[], false),
            // Untied from the start.
            ("llama", &["embed_tokens", "lm_head"], &[], false),
        ] {
            let base = base(name);
            let folder = adapter(&base, modules, saved);
            let plain = LlamaForCausalLM::load(&base, &device).unwrap();
            let before = logits(&plain, &device).unwrap();
            let adapted = plain.load_adapter(NAME, &folder, &names()).unwrap();
            let expected = logits(&adapted, &device).unwrap();
            let merged = merged(&base, Some(&folder), &device).unwrap();
            assert_eq!(merged.is_untied, is_untied, "{name} {modules:?}");
            let largest = |x: Tensor<3>| x.abs().max().into_scalar::<f32>();
            let found = logits(&merged.model, &device).unwrap();
            let scale = largest(expected.clone());
            let difference = largest(found - expected.clone()) / scale;
            assert!(difference < 1e-5, "{name} {modules:?}: {difference:e}");
            let change = largest(expected - before) / scale;
            assert!(change > 1e-2, "{name} {modules:?}: {change:e}");
        }
    }
}
