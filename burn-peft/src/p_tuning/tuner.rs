//! P-tuning as a method of the table.

use burn::nn::Embedding;

use super::config::PTuningConfig;
use crate::adapters::{AdapterPart, Unadapted};
use crate::error::Error;
use crate::prompt::check_table;
use crate::tuner::{ForwardLayers, ModelTensors, TableAsHead, Tuner};

impl Tuner for PTuningConfig {
    fn prefix(&self) -> &'static str {
        "base_model."
    }

    fn model_parts(&self) -> &'static [AdapterPart] {
        &[AdapterPart::PROMPT_EMBEDDINGS]
    }

    fn check_model_tensors(&self, tensors: &ModelTensors<'_>) -> Result<(), Error> {
        check_table(self.rows()?, self.token_dim, tensors)
    }

    fn virtual_tokens(&self) -> Option<usize> {
        Some(self.num_virtual_tokens)
    }
}

impl ForwardLayers for PTuningConfig {
    // A prompt has no adapters of layers, but its folder may hold a table or a head.
    fn tied_head(table: &Embedding) -> Option<TableAsHead> {
        TableAsHead::of::<Unadapted>(table)
    }
}
