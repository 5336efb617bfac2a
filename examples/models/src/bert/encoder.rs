//! The layers of the encoder.

use burn::module::Module;
use burn::nn::activation::Activation;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Bool, Device, Tensor};
use burn_flex_fused::ForwardFused;
use burn_ief::nn::ForwardRecorded;
use burn_peft::ForwardAdapted;

use super::config::{BertConfig, BertKind};
use crate::encoder::{AttentionSizes, SelfAttention, initial_linear};
use crate::error::Error;

/// A stack of [`BertLayer`]s.
#[derive(Module, Debug)]
pub struct BertEncoder {
    /// First to last.
    pub layer: Vec<BertLayer>,
}

/// Attention and a feed-forward network, each with a residual connection and before a layer norm.
#[derive(Module, Debug)]
pub struct BertLayer {
    /// Self-attention with its residual.
    pub attention: BertAttention,
    /// First layer of the feed-forward network.
    pub intermediate: BertIntermediate,
    /// Second layer of the feed-forward network with its residual.
    pub output: BertResidual,
}

/// Self-attention with a residual connection.
#[derive(Module, Debug)]
pub struct BertAttention {
    /// `self` in `transformers`.
    pub self_attention: SelfAttention,
    /// Projection of the heads and residual.
    pub output: BertResidual,
}

/// A linear layer and the activation.
#[derive(Module, Debug)]
pub struct BertIntermediate {
    /// d → `intermediate_size`.
    pub dense: Linear,
    activation: Activation,
}

/// A linear layer, added to the residual and normalised.
#[derive(Module, Debug)]
pub struct BertResidual {
    /// To d.
    pub dense: Linear,
    /// `LayerNorm` in `transformers`.
    pub layer_norm: LayerNorm,
    dropout: Dropout,
}

impl BertEncoder {
    pub(super) fn new(config: &BertConfig, device: &Device) -> Result<Self, Error> {
        let layers = (0..config.num_hidden_layers).map(|_| BertLayer::new(config, device));
        Ok(Self {
            layer: layers.collect::<Result<_, _>>()?,
        })
    }

    /// `[M, T, d]` to the same shape; `left_out` `[M, 1, 1, T]` is true for padding.
    pub(super) fn forward(&self, x: Tensor<3>, left_out: Option<&Tensor<4, Bool>>) -> Tensor<3> {
        let layers = self.layer.iter();
        layers.fold(x, |x, layer| layer.forward(x, left_out))
    }
}

impl BertLayer {
    fn new(config: &BertConfig, device: &Device) -> Result<Self, Error> {
        let (d, hidden) = (config.hidden_size, config.intermediate_size);
        let linear = |dims| initial_linear(dims, true, config.initializer_range, device);
        let residual = |d_input, dropout| BertResidual {
            dense: linear([d_input, d]),
            layer_norm: LayerNormConfig::new(d)
                .with_epsilon(config.layer_norm_eps)
                .init(device),
            dropout: DropoutConfig::new(dropout).init(),
        };
        let dropout = config.hidden_dropout_prob;
        // DistilBERT does not drop outputs of the attention.
        let attention_dropout = match config.kind()? {
            BertKind::DistilBert => 0.0,
            BertKind::Bert | BertKind::Roberta => dropout,
        };
        let sizes = AttentionSizes {
            width: d,
            heads: config.num_attention_heads,
            bias: true,
            dropout: config.attention_probs_dropout_prob,
            initializer_range: config.initializer_range,
        };
        let self_attention = SelfAttention::new(&sizes, device);
        Ok(Self {
            attention: BertAttention {
                self_attention,
                output: residual(d, attention_dropout),
            },
            intermediate: BertIntermediate {
                dense: linear([d, hidden]),
                activation: config.activation(device)?,
            },
            output: residual(hidden, dropout),
        })
    }

    fn forward(&self, x: Tensor<3>, left_out: Option<&Tensor<4, Bool>>) -> Tensor<3> {
        let heads = self.attention.self_attention.forward(x.clone(), left_out);
        let x = self.attention.output.forward(heads, x);
        let hidden = self.intermediate.dense.forward_adapted(x.clone());
        let hidden = self.intermediate.activation.forward_fused(hidden);
        self.output.forward(hidden, x)
    }
}

impl BertResidual {
    fn forward(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        let x = self.dropout.forward_recorded(self.dense.forward_adapted(x));
        self.layer_norm.forward_recorded(x + residual)
    }
}
