//! Self-attention of ViT and DINOv2.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::DropoutRecorded;
use burn_peft::{LinearAdapted, NameMap};

use crate::bert::{attend, initial_linear};

/// Sizes of [`ViTAttention`].
pub(super) struct Sizes {
    pub width: usize,
    pub heads: usize,
    pub qkv_bias: bool,
    pub attention_dropout: f64,
    pub dropout: f64,
    pub initializer_range: f64,
}

/// Self-attention and the projection of its heads.
#[derive(Module, Debug)]
pub struct ViTAttention {
    /// Queries, keys and values.
    pub attention: ViTSelfAttention,
    /// Projection of the heads.
    pub output: ViTAttentionOutput,
}

/// Queries, keys and values of all heads.
#[derive(Module, Debug)]
pub struct ViTSelfAttention {
    /// d → d.
    pub query: Linear,
    /// d → d.
    pub key: Linear,
    /// d → d.
    pub value: Linear,
    dropout: Dropout,
    heads: usize,
}

/// A linear layer and dropout.
#[derive(Module, Debug)]
pub struct ViTAttentionOutput {
    /// d → d.
    pub dense: Linear,
    dropout: Dropout,
}

impl ViTAttention {
    pub(super) fn new(sizes: &Sizes, device: &Device) -> Self {
        let dims = [sizes.width; 2];
        let linear = |bias| initial_linear(dims, bias, sizes.initializer_range, device);
        Self {
            attention: ViTSelfAttention {
                query: linear(sizes.qkv_bias),
                key: linear(sizes.qkv_bias),
                value: linear(sizes.qkv_bias),
                dropout: DropoutConfig::new(sizes.attention_dropout).init(),
                heads: sizes.heads,
            },
            output: ViTAttentionOutput {
                dense: linear(true),
                dropout: DropoutConfig::new(sizes.dropout).init(),
            },
        }
    }

    /// `[M, T, d]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = &self.attention;
        let parts = [&inner.query, &inner.key, &inner.value];
        let parts = parts.map(|linear| linear.forward_adapted(x.clone()));
        let heads = attend(parts, inner.heads, None, &inner.dropout);
        let output = self.output.dense.forward_adapted(heads);
        self.output.dropout.forward_recorded(output)
    }
}

/// Names of the attention in `transformers` 5.
pub(super) fn projections(names: NameMap) -> NameMap {
    names
        .with(r"\battention\.attention\.query\b", "attention.q_proj")
        .with(r"\battention\.attention\.key\b", "attention.k_proj")
        .with(r"\battention\.attention\.value\b", "attention.v_proj")
        .with(r"\battention\.output\.dense\b", "attention.o_proj")
}
