//! Checks of the values of an input.

use super::{LlamaForCausalLM, LlamaInput, LlamaModel};
use crate::error::Error;
use crate::ids::{check_ids, check_mask};

/// No text comes near; angles of larger positions lose their fraction even in f64.
const POSITIONS: i64 = 1 << 40;

impl LlamaForCausalLM {
    /// Check an input, shapes and values; this reads ids, mask and positions to the host.
    ///
    /// There is no limit to the length: rotary positions go on beyond `max_position_embeddings`
    /// (as they do in `transformers`), at the price of quality.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if a tensor has a wrong shape, an id is outside the vocabulary, a mask
    /// holds something else than 0 and 1, or a position is negative.
    pub fn validate(&self, input: &LlamaInput) -> Result<(), Error> {
        self.model.validate(input)
    }
}

impl LlamaModel {
    /// Check an input as [`LlamaForCausalLM::validate`] does.
    ///
    /// # Errors
    ///
    /// Those of [`LlamaForCausalLM::validate`].
    pub fn validate(&self, input: &LlamaInput) -> Result<(), Error> {
        let [vocabulary, width] = self.embed_tokens.weight.shape().dims();
        input.check_shapes(width)?;
        input.check_prefix(self.layers.len(), self.config.key_width())?;
        check_ids("input_ids", &input.input_ids, 0..vocabulary as i64)?;
        check_mask("attention_mask", input.attention_mask.as_ref())?;
        match &input.position_ids {
            Some(ids) => check_ids("position_ids", ids, 0..POSITIONS),
            None => Ok(()),
        }
    }
}
