//! Self-attention of ViT and DINOv2.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::ForwardAdapted;

use crate::encoder::{AttentionSizes, SelfAttention, initial_linear};

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
    pub attention: SelfAttention,
    /// Projection of the heads.
    pub output: ViTAttentionOutput,
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
        let inner = AttentionSizes {
            width: sizes.width,
            heads: sizes.heads,
            bias: sizes.qkv_bias,
            dropout: sizes.attention_dropout,
            initializer_range: sizes.initializer_range,
        };
        let dims = [sizes.width; 2];
        Self {
            attention: SelfAttention::new(&inner, device),
            output: ViTAttentionOutput {
                dense: initial_linear(dims, true, sizes.initializer_range, device),
                dropout: DropoutConfig::new(sizes.dropout).init(),
            },
        }
    }

    /// `[M, T, d]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let heads = self.attention.forward(x, None);
        let output = self.output.dense.forward_adapted(heads);
        self.output.dropout.forward_recorded(output)
    }
}

/// Names of the attention in `transformers` 5.
pub(super) const PROJECTIONS: [(&str, &str); 4] = [
    (r"\battention\.attention\.query\b", "attention.q_proj"),
    (r"\battention\.attention\.key\b", "attention.k_proj"),
    (r"\battention\.attention\.value\b", "attention.v_proj"),
    (r"\battention\.output\.dense\b", "attention.o_proj"),
];
