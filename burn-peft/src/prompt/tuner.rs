//! Prompt tuning as a method of the table.

use burn::nn::Embedding;

use super::config::PromptConfig;
use crate::adapters::{AdapterPart, Unadapted};
use crate::error::Error;
use crate::tuner::{ForwardLayers, ModelTensors, TableAsHead, Tuner};

/// Key of the table of virtual tokens.
pub(crate) const EMBEDDINGS: &str = "prompt_embeddings";

impl AdapterPart {
    /// The table of virtual tokens `[rows, token_dim]`.
    pub const PROMPT_EMBEDDINGS: Self = Self::new(EMBEDDINGS);
}

impl Tuner for PromptConfig {
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

/// Check the table of virtual tokens.
pub(crate) fn check_table(
    rows: usize,
    token_dim: Option<usize>,
    tensors: &ModelTensors<'_>,
) -> Result<(), Error> {
    let key = EMBEDDINGS.to_string();
    let Some(table) = tensors.get(&AdapterPart::PROMPT_EMBEDDINGS) else {
        return Err(Error::MissingKey { key });
    };
    let fits = match table.shape().as_slice() {
        [found, width] => *found == rows && token_dim.is_none_or(|token_dim| token_dim == *width),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let width = token_dim.map_or("token_dim".into(), |width| width.to_string());
    Err(Error::Shape {
        key,
        shape: table.shape().to_vec(),
        expected: format!("[{rows}, {width}]"),
    })
}

impl ForwardLayers for PromptConfig {
    // A prompt has no adapters of layers, but its folder may hold a table or a head.
    fn tied_head(table: &Embedding) -> Option<TableAsHead> {
        TableAsHead::of::<Unadapted>(table)
    }
}
