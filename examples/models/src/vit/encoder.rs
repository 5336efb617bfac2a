//! The layers of ViT.

use burn::module::Module;
use burn::nn::activation::Activation;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, Linear};
use burn::tensor::{Device, Tensor};
use burn_flex_fused::ForwardFused;
use burn_ief::nn::ForwardRecorded;
use burn_peft::ForwardAdapted;

use super::attention::Sizes;
use super::{ViTAttention, ViTConfig};
use crate::encoder::{activation, initial_linear, initial_norm};
use crate::error::Error;

/// A stack of [`ViTLayer`]s.
#[derive(Module, Debug)]
pub struct ViTEncoder {
    /// First to last.
    pub layer: Vec<ViTLayer>,
}

/// Attention and a feed-forward network, each after a layer norm and with a residual connection.
#[derive(Module, Debug)]
pub struct ViTLayer {
    /// Self-attention.
    pub attention: ViTAttention,
    /// First layer of the feed-forward network.
    pub intermediate: ViTIntermediate,
    /// Second layer of the feed-forward network.
    pub output: ViTOutput,
    /// Before the attention.
    pub layernorm_before: LayerNorm,
    /// Before the feed-forward network.
    pub layernorm_after: LayerNorm,
}

/// A linear layer and the activation.
#[derive(Module, Debug)]
pub struct ViTIntermediate {
    /// d → `intermediate_size`.
    pub dense: Linear,
    activation: Activation,
}

/// A linear layer and dropout.
#[derive(Module, Debug)]
pub struct ViTOutput {
    /// `intermediate_size` → d.
    pub dense: Linear,
    dropout: Dropout,
}

impl ViTEncoder {
    pub(super) fn new(config: &ViTConfig, device: &Device) -> Result<Self, Error> {
        let layers = (0..config.num_hidden_layers).map(|_| ViTLayer::new(config, device));
        Ok(Self {
            layer: layers.collect::<Result<_, _>>()?,
        })
    }

    /// `[M, T, d]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.layer.iter().fold(x, |x, layer| layer.forward(x))
    }
}

impl ViTLayer {
    fn new(config: &ViTConfig, device: &Device) -> Result<Self, Error> {
        let (d, hidden) = (config.hidden_size, config.intermediate_size);
        let sizes = Sizes {
            width: d,
            heads: config.num_attention_heads,
            qkv_bias: config.qkv_bias,
            attention_dropout: config.attention_probs_dropout_prob,
            dropout: config.hidden_dropout_prob,
            initializer_range: config.initializer_range,
        };
        let linear = |dims| initial_linear(dims, true, config.initializer_range, device);
        let norm = || initial_norm(d, config.layer_norm_eps, device);
        Ok(Self {
            attention: ViTAttention::new(&sizes, device),
            intermediate: ViTIntermediate {
                dense: linear([d, hidden]),
                activation: activation(&config.hidden_act, device)?,
            },
            output: ViTOutput {
                dense: linear([hidden, d]),
                dropout: DropoutConfig::new(config.hidden_dropout_prob).init(),
            },
            layernorm_before: norm(),
            layernorm_after: norm(),
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = self.layernorm_before.forward_recorded(x.clone());
        let x = self.attention.forward(normed) + x;
        let normed = self.layernorm_after.forward_recorded(x.clone());
        let hidden = self.intermediate.dense.forward_adapted(normed);
        let hidden = self.intermediate.activation.forward_fused(hidden);
        let output = self.output.dense.forward_adapted(hidden);
        self.output.dropout.forward_recorded(output) + x
    }
}
