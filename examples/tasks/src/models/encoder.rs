//! The transformer that texts and pictures share.

use burn::module::Module;
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig};
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Tensor};
use burn_ief::nn::{EncoderInput, ForwardRecorded};

/// Pre-norm blocks, a norm, and a head that reads the first position.
#[derive(Module, Debug)]
pub struct Encoder {
    blocks: TransformerEncoder,
    norm: LayerNorm,
    head: Linear,
}

impl Encoder {
    /// Blocks of this width with a hidden layer of twice the width and four heads, without dropout.
    pub fn new(width: usize, layers: usize, classes: usize, device: &Device) -> Self {
        let blocks = TransformerEncoderConfig::new(width, 2 * width, 4, layers)
            .with_dropout(0.0)
            .with_norm_first(true);
        Self {
            blocks: blocks.init(device),
            norm: LayerNormConfig::new(width).init(device),
            head: LinearConfig::new(width, classes).init(device),
        }
    }

    /// Tokens `[M, T, width]` and their padding to logits `[M, classes]`.
    pub fn forward(&self, tokens: Tensor<3>, padding: Option<Tensor<2, Bool>>) -> Tensor<2> {
        let mut input = EncoderInput::new(tokens);
        input.mask_pad = padding;
        let x = self.blocks.forward_recorded(input);
        let [rows, _, width] = x.dims();
        let first: Tensor<2> = x.narrow(1, 0, 1).reshape([rows, width]);
        let first = self.norm.forward_recorded(first);
        self.head.forward_recorded(first)
    }
}
