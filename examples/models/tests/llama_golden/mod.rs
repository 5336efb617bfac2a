//! Llama and Qwen2 against `transformers`.

#![allow(dead_code)]

use burn::tensor::{Device, Tensor};
use burn_hf_models::llama::{LlamaForCausalLM, LlamaInput, LlamaOutput};

use crate::reference::{Tensors, folder};

/// The inputs that all outputs of the file belong to.
pub fn input(golden: &Tensors, device: &Device) -> LlamaInput {
    LlamaInput::new(golden.ids("input.input_ids", device))
        .with_attention_mask(golden.ids("input.attention_mask", device))
}

/// Both outputs of `variant` (such as `base`) at a `precision` (`f64`, `f32`), within `tolerance`
/// of the largest.
pub fn compare(golden: &Tensors, output: LlamaOutput, variant: &str, at: (&str, f64)) {
    let (precision, tolerance) = at;
    let name = |tensor| format!("{variant}.{tensor}.{precision}");
    let hidden = &output.last_hidden_state;
    golden.compare(hidden, &name("last_hidden_state"), tolerance);
    golden.compare(&output.logits, &name("logits"), tolerance);
}

pub fn model(name: &str, device: &Device) -> LlamaForCausalLM {
    LlamaForCausalLM::load(&folder(name), device).unwrap()
}

/// The virtual tokens of the prompt-tuning adapter, a copy for each of `batch` samples.
pub fn prompt(batch: usize, device: &Device) -> Tensor<3> {
    let adapter = Tensors::read("llama/prompt_tuning/adapter_model.safetensors");
    adapter.prompt(None, batch, device)
}
