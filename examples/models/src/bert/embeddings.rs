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
    /// Segments, `[type_vocab_size, d]`.
    pub token_type_embeddings: Embedding,
    /// `LayerNorm` in `transformers`.
    pub layer_norm: LayerNorm,
    dropout: Dropout,
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
            token_type_embeddings: table(config.type_vocab_size),
            layer_norm: LayerNormConfig::new(config.hidden_size)
                .with_epsilon(config.layer_norm_eps)
                .init(device),
            dropout: DropoutConfig::new(config.hidden_dropout_prob).init(),
        }
    }

    /// Embed a batch, `[M, V + T, d]`.
    pub(super) fn forward(&self, input: &BertInput) -> Result<Tensor<3>, Error> {
        let [positions, width] = self.position_embeddings.weight.shape().dims();
        input.check(width, positions)?;
        let ids = input.input_ids.clone();
        let segments = match &input.token_type_ids {
            Some(segments) => segments.clone(),
            None => ids.zeros_like(),
        };
        let segments = input.behind_prompt(segments, 0);
        let mut tokens = self.word_embeddings.forward_adapted(ids);
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
        let device = input.input_ids.device();
        let positions = Tensor::<1, Int>::arange(0..length as i64, &device).unsqueeze();
        let positions = embed_shared(&self.position_embeddings, positions, batch);
        let segments = self.token_type_embeddings.forward_adapted(segments);
        let x = self
            .layer_norm
            .forward_recorded(tokens + segments + positions);
        Ok(self.dropout.forward_recorded(x))
    }
}
