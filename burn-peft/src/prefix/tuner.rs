//! Prefix tuning as a method of the table.

use burn::nn::Embedding;

use super::config::PrefixConfig;
use crate::adapters::{AdapterPart, Unadapted};
use crate::error::Error;
use crate::tuner::{ForwardLayers, ModelTensors, TableAsHead, Tuner};

impl Tuner for PrefixConfig {
    fn prefix(&self) -> &'static str {
        "base_model."
    }

    fn model_parts(&self) -> &'static [AdapterPart] {
        &[AdapterPart::PROMPT_EMBEDDINGS]
    }

    fn check_model_tensors(&self, tensors: &ModelTensors<'_>) -> Result<(), Error> {
        let key = AdapterPart::PROMPT_EMBEDDINGS;
        let Some(table) = tensors.get(&key) else {
            let key = key.suffix().into();
            return Err(Error::MissingKey { key });
        };
        let width = self.width()?;
        if table.shape().as_slice() != [self.num_virtual_tokens, width] {
            return Err(Error::Shape {
                key: key.suffix().into(),
                shape: table.shape().to_vec(),
                expected: format!("[{}, {width}]", self.num_virtual_tokens),
            });
        }
        Ok(())
    }
}

impl ForwardLayers for PrefixConfig {
    // A prefix is no adapter of layers, but its folder may hold a table or a head.
    fn tied_head(table: &Embedding) -> Option<TableAsHead> {
        TableAsHead::of::<Unadapted>(table)
    }
}
