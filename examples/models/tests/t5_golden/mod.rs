//! T5 against `transformers` and PEFT.

// Each test binary uses its own part.
#![allow(dead_code)]

use burn::tensor::Device;
use burn_hf_models::t5::{T5ForConditionalGeneration, T5Input, T5Output};

use crate::reference::{Tensors, folder};

pub const MODELS: [&str; 2] = ["t5_relu", "t5_gated_gelu"];
/// Virtual tokens of the prompts.
const VIRTUAL_TOKENS: usize = 4;

/// The folder of a model.
pub struct Folder {
    name: String,
    golden: Tensors,
}

impl Folder {
    pub fn new(model: &str) -> Self {
        Self {
            name: model.into(),
            golden: Tensors::golden(model),
        }
    }

    pub fn model(&self, device: &Device) -> T5ForConditionalGeneration {
        T5ForConditionalGeneration::load(&folder(&self.name), device).unwrap()
    }

    pub fn input(&self, device: &Device) -> T5Input {
        let ids = |name: &str| self.golden.ids(&format!("input.{name}"), device);
        T5Input {
            input_ids: ids("input_ids"),
            attention_mask: Some(ids("attention_mask")),
            decoder_input_ids: ids("decoder_input_ids"),
            prompt: None,
        }
    }

    /// The input with an adapter's prompt for each sample. An adapter with two submodules stores
    /// twice as many embeddings; the encoder gets the first half.
    pub fn prompted_input(&self, adapter: &str, device: &Device) -> T5Input {
        let file = format!("{}/{adapter}/adapter_model.safetensors", self.name);
        let input = self.input(device);
        let [batch, _] = input.input_ids.dims();
        let prompt = Tensors::read(&file).prompt(Some(VIRTUAL_TOKENS), batch, device);
        T5Input {
            prompt: Some(prompt),
            ..input
        }
    }

    /// The largest difference of an output, relative to the largest entry of each tensor.
    pub fn difference(&self, output: &T5Output, case: &str, precision: &str) -> f64 {
        let name = |tensor| format!("{case}.{tensor}.{precision}");
        let decoder = &output.decoder_last_hidden_state;
        let encoder = &output.encoder_last_hidden_state;
        let differences = [
            self.golden.difference(&output.logits, &name("logits")),
            self.golden
                .difference(decoder, &name("decoder_last_hidden_state")),
            self.golden
                .difference(encoder, &name("encoder_last_hidden_state")),
        ];
        differences.into_iter().fold(0.0, f64::max)
    }
}
