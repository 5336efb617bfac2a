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
