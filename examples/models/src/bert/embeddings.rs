//! Word, position and segment embeddings.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig};
use burn::tensor::{Device, Int, Tensor};
use burn_ief::nn::{ForwardRecorded, embed_shared};
use burn_ief::recorder;
use burn_peft::ForwardAdapted;

use super::{BertConfig, BertInput};
use crate::encoder::initial_normal;
use crate::error::Error;

/// The sum of word, position and segment embeddings, normalised.
#[derive(Module, Debug)]
pub struct BertEmbeddings {
    /// Vocabulary, `[vocab_size, d]`.
    pub word_embeddings: Embedding,
    /// `[max_position_embeddings, d]`.
    pub position_embeddings: Embedding,
    /// Segments, `[type_vocab_size, d]`; DistilBERT has none.
    pub token_type_embeddings: Option<Embedding>,
    /// `LayerNorm` in `transformers`.
    pub layer_norm: LayerNorm,
    dropout: Dropout,
    /// The id of the padding token, if positions count from behind it.
    #[module(skip)]
    position_padding: Option<i64>,
}

impl BertEmbeddings {
    pub(super) fn new(config: &BertConfig, device: &Device) -> Self {
        let table = |entries| {
            EmbeddingConfig::new(entries, config.hidden_size)
                .with_initializer(initial_normal(config.initializer_range))
                .init(device)
        };
        Self {
            word_embeddings: table(config.vocab_size),
            position_embeddings: table(config.max_position_embeddings),
            token_type_embeddings: (config.type_vocab_size > 0)
                .then(|| table(config.type_vocab_size)),
            layer_norm: LayerNormConfig::new(config.hidden_size)
                .with_epsilon(config.layer_norm_eps)
                .init(device),
            dropout: DropoutConfig::new(config.hidden_dropout_prob).init(),
            position_padding: config.position_padding(),
        }
    }

    /// The longest sequence, prompts included.
    pub(super) fn longest(&self) -> usize {
        let [positions, _] = self.position_embeddings.weight.shape().dims();
        let unused = self.position_padding.map_or(0, |id| id as usize + 1);
        positions.saturating_sub(unused)
    }

    /// Embed a batch, `[M, V + T, d]`.
    pub(super) fn forward(&self, input: &BertInput) -> Result<Tensor<3>, Error> {
        let [_, width] = self.position_embeddings.weight.shape().dims();
        input.check(width, self.longest())?;
        if self.token_type_embeddings.is_none() && input.token_type_ids.is_some() {
            return Err(Error::Input {
                name: "token_type_ids",
                reason: "expected none, the model has no segments".into(),
            });
        }
        let ids = input.input_ids.clone();
        let mut tokens = self.word_embeddings.forward_adapted(ids.clone());
        if let Some(prompt) = input.prompt.clone() {
            let prompt = match recorder() {
                Some(recorder) => recorder.batch(prompt),
                None => prompt,
            };
            // A prompt may be wider than a model of half precision.
            let prompt = prompt.cast(tokens.dtype());
            tokens = Tensor::cat(vec![prompt, tokens], 1);
        }
        let [batch, length, _] = tokens.dims();
        let positions = match self.position_padding {
            // The model cannot know what is padding where a prompt is in front, as in `transformers`.
            Some(padding) if input.prompt.is_none() => {
                let counted = counted(ids.clone(), padding);
                self.position_embeddings.forward_adapted(counted)
            }
            padding => {
                let first = padding.map_or(0, |id| id + 1);
                let device = input.input_ids.device();
                let positions = Tensor::<1, Int>::arange(first..first + length as i64, &device);
                embed_shared(&self.position_embeddings, positions.unsqueeze(), batch)
            }
        };
        let x = match &self.token_type_embeddings {
            Some(table) => {
                let segments = match &input.token_type_ids {
                    Some(segments) => segments.clone(),
                    None => ids.zeros_like(),
                };
                let segments = input.behind_prompt(segments, 0);
                tokens + table.forward_adapted(segments)
            }
            None => tokens,
        };
        let x = self.layer_norm.forward_recorded(x + positions);
        Ok(self.dropout.forward_recorded(x))
    }
}

/// RoBERTa's positions: those of tokens count from `padding + 1`, those of padding are `padding`.
fn counted(ids: Tensor<2, Int>, padding: i64) -> Tensor<2, Int> {
    let seen = ids.not_equal_elem(padding).int();
    seen.clone().cumsum(1) * seen + padding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_not_counted() {
        let ids = [[0, 5, 6, 2, 1, 1], [1, 1, 0, 5, 6, 2]];
        let counted = counted(Tensor::from_data(ids, &Device::flex()), 1);
        let found: Vec<i64> = counted.into_data().iter::<i64>().collect();
        assert_eq!(found, [2, 3, 4, 5, 1, 1, 1, 1, 2, 3, 4, 5]);
    }
}
