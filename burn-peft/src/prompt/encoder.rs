//! The network that makes the virtual tokens of P-tuning.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;

/// Three linear layers with ReLU between them, from a table to virtual tokens. PEFT does not store it:
/// a folder has the tokens that it makes.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct PromptEncoder {
    /// From the width of a token to the hidden width.
    pub first: Linear,
    /// From the hidden width to the hidden width.
    pub second: Linear,
    /// From the hidden width to the width of a token.
    pub third: Linear,
}

impl PromptEncoder {
    /// For tokens of this width, with PyTorch's first values of linear layers.
    pub(crate) fn new(width: usize, hidden: usize, device: &Device) -> Self {
        Self {
            first: LinearConfig::new(width, hidden).init(device),
            second: LinearConfig::new(hidden, hidden).init(device),
            third: LinearConfig::new(hidden, width).init(device),
        }
    }

    /// Of `[M, V, d]`, recorded per sample.
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = relu(self.first.forward_recorded(x));
        let x = relu(self.second.forward_recorded(x));
        self.third.forward_recorded(x)
    }
}
