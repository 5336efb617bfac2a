//! A layer of a model that can be adapted.

use burn::module::Param;
use burn::tensor::Tensor;

use crate::targets::ModuleKind;

/// A layer that can be adapted.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Path of the module in the Burn model.
    pub path: String,
    pub kind: ModuleKind,
    pub weight: Weight,
    /// Whether the layer has a bias.
    pub bias: bool,
}

/// The weight of a layer, without its adapters.
#[derive(Debug, Clone)]
pub(crate) enum Weight {
    /// Of a linear layer `[in, out]` or an embedding `[entries, d]`.
    Two(Param<Tensor<2>>),
    /// Of a convolution `[out, in, k, k]`.
    Four(Param<Tensor<4>>),
}
