//! A small text transformer, trained in full.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::{Device, Int, Tensor};
use burn_ief::nn::ForwardRecorded;

use super::encoder::Encoder;

/// The token that pads texts to one length.
pub const PADDING: i64 = 0;

/// Sizes of a [`TextTransformer`].
#[derive(Config, Debug)]
pub struct TextTransformerConfig {
    /// Tokens.
    pub vocabulary: usize,
    /// Longest text.
    pub length: usize,
    /// Classes.
    pub classes: usize,
    /// Width of a token.
    #[config(default = 128)]
    pub width: usize,
    /// Blocks.
    #[config(default = 2)]
    pub layers: usize,
}

/// Embeddings of tokens and positions, and an encoder.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use tasks::models::TextTransformerConfig;
///
/// let device = Device::flex().autodiff();
/// let model = TextTransformerConfig::new(20, 8, 6).init(&device);
/// let tokens = Tensor::<2, Int>::from_data([[5, 3, 0], [7, 0, 0]], &device);
/// assert_eq!(model.forward(tokens).dims(), [2, 6]);
/// ```
#[derive(Module, Debug)]
pub struct TextTransformer {
    token_embedding: Embedding,
    position_embedding: Embedding,
    encoder: Encoder,
}

impl TextTransformerConfig {
    /// A new model with random parameters.
    pub fn init(&self, device: &Device) -> TextTransformer {
        let embedding = |entries| EmbeddingConfig::new(entries, self.width).init(device);
        TextTransformer {
            token_embedding: embedding(self.vocabulary),
            position_embedding: embedding(self.length),
            encoder: Encoder::new(self.width, self.layers, self.classes, device),
        }
    }
}

impl TextTransformer {
    /// Tokens `[M, T]`, of which the first is never padding, to logits `[M, classes]`.
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [samples, length] = tokens.dims();
        let padding = tokens.clone().equal_elem(PADDING);
        let positions = Tensor::arange(0..length as i64, &tokens.device())
            .reshape([1, length])
            .repeat_dim(0, samples);
        let positions = self.position_embedding.forward_recorded(positions);
        let x = positions + self.token_embedding.forward_recorded(tokens);
        self.encoder.forward(x, Some(padding))
    }
}
