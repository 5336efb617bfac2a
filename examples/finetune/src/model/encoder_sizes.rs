//! What the program needs to know of an encoder before it is loaded.

use std::path::Path;

use burn_hf_models::bert::BertConfig;
use burn_hf_models::modernbert::ModernBertConfig;
use burn_hf_models::weights::read_config;
use serde::Deserialize;

use crate::error::Error;

/// Sizes of BERT or one of its relatives.
#[derive(Debug, Clone)]
pub(crate) struct EncoderSizes {
    /// `bert`, `roberta`, `distilbert` or `modernbert`.
    pub model_type: String,
    /// Width of a token.
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Segments, if the model distinguishes the texts of a pair.
    pub segments: Option<usize>,
    /// Tokens of the longest text, virtual ones included.
    pub longest: usize,
}

impl EncoderSizes {
    /// Of a folder.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for a damaged configuration, and for a model of another family.
    pub fn of(folder: &Path) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Stated {
            model_type: Option<String>,
        }
        let stated: Stated = read_config(folder)?;
        let model_type = stated.model_type.unwrap_or_else(|| "bert".into());
        if model_type == "modernbert" {
            let config = ModernBertConfig::from_folder(folder)?;
            return Ok(Self {
                model_type,
                width: config.hidden_size,
                layers: config.num_hidden_layers,
                heads: config.num_attention_heads,
                vocabulary: config.vocab_size,
                segments: None,
                // Its positions are rotations.
                longest: usize::MAX,
            });
        }
        let config = BertConfig::from_folder(folder)?;
        let has_segments = model_type == "bert" && config.type_vocab_size > 1;
        Ok(Self {
            width: config.hidden_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            vocabulary: config.vocab_size,
            segments: has_segments.then_some(config.type_vocab_size),
            longest: config.longest_sequence(),
            model_type,
        })
    }
}
