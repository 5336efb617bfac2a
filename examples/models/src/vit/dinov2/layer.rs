//! The layers of DINOv2.

use burn::module::{Module, Param};
use burn::nn::activation::Activation;
use burn::nn::{Initializer, LayerNorm, Linear};
use burn::tensor::{Device, Tensor};
use burn_flex_fused::ForwardFused;
use burn_ief::nn::{ForwardRecorded, expand_param};
use burn_peft::ForwardAdapted;

use super::Dinov2Config;
use crate::encoder::{activation, initial_linear, initial_norm};
use crate::error::Error;
use crate::vit::ViTAttention;
use crate::vit::attention::Sizes;

/// A stack of [`Dinov2Layer`]s.
#[derive(Module, Debug)]
pub struct Dinov2Encoder {
    /// First to last.
    pub layer: Vec<Dinov2Layer>,
}

/// Attention and a feed-forward network, each after a layer norm, scaled, and with a residual
/// connection.
#[derive(Module, Debug)]
pub struct Dinov2Layer {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attention: ViTAttention,
    /// Of the attention.
    pub layer_scale1: LayerScale,
    /// Before the feed-forward network.
    pub norm2: LayerNorm,
    /// The feed-forward network.
    pub mlp: Dinov2Mlp,
    /// Of the feed-forward network.
    pub layer_scale2: LayerScale,
}

/// A factor for each feature.
#[derive(Module, Debug)]
pub struct LayerScale {
    /// `[d]`.
    pub lambda1: Param<Tensor<1>>,
}

/// Two linear layers around the activation.
#[derive(Module, Debug)]
pub struct Dinov2Mlp {
    /// d → `mlp_ratio` d.
    pub fc1: Linear,
    activation: Activation,
    /// `mlp_ratio` d → d.
    pub fc2: Linear,
}

impl Dinov2Encoder {
    pub(super) fn new(config: &Dinov2Config, device: &Device) -> Result<Self, Error> {
        let layers = (0..config.num_hidden_layers).map(|_| Dinov2Layer::new(config, device));
        Ok(Self {
            layer: layers.collect::<Result<_, _>>()?,
        })
    }

    /// `[M, T, d]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.layer.iter().fold(x, |x, layer| layer.forward(x))
    }
}

impl Dinov2Layer {
    fn new(config: &Dinov2Config, device: &Device) -> Result<Self, Error> {
        let (d, hidden) = (config.hidden_size, config.mlp_size());
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
        let scale = || {
            let value = config.layerscale_value;
            LayerScale {
                lambda1: Initializer::Constant { value }.init([d], device),
            }
        };
        Ok(Self {
            norm1: norm(),
            attention: ViTAttention::new(&sizes, device),
            layer_scale1: scale(),
            norm2: norm(),
            mlp: Dinov2Mlp {
                fc1: linear([d, hidden]),
                activation: activation(&config.hidden_act, device)?,
                fc2: linear([hidden, d]),
            },
            layer_scale2: scale(),
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = self.norm1.forward_recorded(x.clone());
        let x = self.layer_scale1.forward(self.attention.forward(normed)) + x;
        let normed = self.norm2.forward_recorded(x.clone());
        self.layer_scale2.forward(self.mlp.forward(normed)) + x
    }
}

impl LayerScale {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, _, _] = x.dims();
        x * expand_param::<_, 2>(&self.lambda1, batch).unsqueeze_dim(1)
    }
}

impl Dinov2Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = self.activation.forward_fused(self.fc1.forward_adapted(x));
        self.fc2.forward_adapted(hidden)
    }
}
