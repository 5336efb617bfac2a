//! Multi-head self-attention whose query and value projections can carry adapters.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use burn_peft::{LoraConfig, LoraLinear};

use super::folded;

/// A projection, plain or with an adapter.
// A model has a handful of these: boxing would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Projection {
    /// A plain linear layer.
    Plain(Linear),
    /// A frozen one with a trainable adapter.
    Adapted(LoraLinear),
}

impl Projection {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Plain(layer) => folded(layer, x),
            Self::Adapted(layer) => layer.forward(x),
        }
    }

    fn adapt(self, lora: &LoraConfig) -> Self {
        match self {
            Self::Plain(layer) => Self::Adapted(lora.init(layer)),
            adapted => adapted,
        }
    }
}

/// Multi-head self-attention.
#[derive(Module, Debug)]
pub struct Attention {
    query: Projection,
    key: Linear,
    value: Projection,
    out: Linear,
    heads: usize,
}

impl Attention {
    pub(super) fn new(width: usize, heads: usize, device: &Device) -> Self {
        let linear = || LinearConfig::new(width, width).init(device);
        Self {
            query: Projection::Plain(linear()),
            key: linear(),
            value: Projection::Plain(linear()),
            out: linear(),
            heads,
        }
    }

    /// Put adapters on the query and value projections.
    pub(super) fn adapt(self, lora: &LoraConfig) -> Self {
        Self {
            query: self.query.adapt(lora),
            value: self.value.adapt(lora),
            ..self
        }
    }

    /// # Shapes
    ///
    /// - x: `[M, T, d]`
    /// - output: `[M, T, d]`
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let query = self.split(self.query.forward(x.clone()));
        let key = self.split(folded(&self.key, x.clone()));
        let value = self.split(self.value.forward(x));
        let [m, heads, t, width] = query.dims();
        let scores = query.matmul(key.swap_dims(2, 3)) / (width as f64).sqrt();
        let mixed = softmax(scores, 3).matmul(value).swap_dims(1, 2);
        folded(&self.out, mixed.reshape([m, t, heads * width]))
    }

    /// `[M, T, d]` to `[M, heads, T, d / heads]`.
    fn split(&self, x: Tensor<3>) -> Tensor<4> {
        let [m, t, d] = x.dims();
        let x: Tensor<4> = x.reshape([m, t, self.heads, d / self.heads]);
        x.swap_dims(1, 2)
    }
}
