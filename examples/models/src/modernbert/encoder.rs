//! The layers of ModernBERT.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, Linear};
use burn::tensor::{Bool, Device, Tensor};
use burn_flex_fused::{AttentionOptions, LeftOut};
use burn_ief::nn::ForwardRecorded;
use burn_peft::ForwardAdapted;

use super::ModernBertConfig;
use crate::attention::attend;
use crate::error::Error;
use crate::llama::GateActivation;
use crate::llama::feed_forward::halves;
use crate::rope::Rotary;

/// Attention and a gated feed-forward network, each after a layer norm and with a residual connection.
#[derive(Module, Debug)]
pub struct ModernBertLayer {
    /// Before the attention; the first layer has none.
    pub attn_norm: Option<LayerNorm>,
    /// Attention.
    pub attn: ModernBertAttention,
    /// Before the feed-forward network.
    pub mlp_norm: LayerNorm,
    /// Feed-forward network.
    pub mlp: ModernBertMlp,
}

/// Self-attention with rotary positions.
#[derive(Module, Debug)]
pub struct ModernBertAttention {
    /// `Wqkv` in `transformers`: to queries, keys and values, `[d, 3 d]`.
    pub wqkv: Linear,
    /// `Wo` in `transformers`: from the heads back, `[d, d]`.
    pub wo: Linear,
    dropout: Dropout,
    heads: usize,
    /// Keys on each side that a query sees, its own included.
    #[module(skip)]
    window: Option<usize>,
}

/// `wo(activation(a) * b)` for the halves a and b of `wi(x)`.
#[derive(Module, Debug)]
pub struct ModernBertMlp {
    /// `Wi` in `transformers`: `[d, 2 hidden]`.
    pub wi: Linear,
    /// `Wo` in `transformers`: `[hidden, d]`.
    pub wo: Linear,
    dropout: Dropout,
    #[module(skip)]
    activation: GateActivation,
}

/// What all layers of one forward pass have in common.
pub(super) struct Surroundings {
    /// Rotations in layers that see the whole text.
    pub global: Rotary,
    /// Rotations in local layers.
    pub local: Rotary,
    /// True for keys to leave out, `[M, T]`.
    pub padding: Option<Tensor<2, Bool>>,
}

impl ModernBertLayer {
    pub(super) fn new(
        config: &ModernBertConfig,
        layer: usize,
        device: &Device,
    ) -> Result<Self, Error> {
        let (d, hidden) = (config.hidden_size, config.intermediate_size);
        let attention = |dims| config.linear(dims, config.attention_bias, device);
        let feed_forward = |dims| config.linear(dims, config.mlp_bias, device);
        Ok(Self {
            attn_norm: (layer > 0).then(|| config.norm(device)),
            attn: ModernBertAttention {
                wqkv: attention([d, 3 * d]),
                wo: attention([d, d]),
                dropout: DropoutConfig::new(config.attention_dropout).init(),
                heads: config.num_attention_heads,
                window: config.is_local(layer).then(|| config.window()),
            },
            mlp_norm: config.norm(device),
            mlp: ModernBertMlp {
                wi: feed_forward([d, 2 * hidden]),
                wo: feed_forward([hidden, d]),
                dropout: DropoutConfig::new(config.mlp_dropout).init(),
                activation: config.gate()?,
            },
        })
    }

    pub(super) fn forward(&self, x: Tensor<3>, around: &Surroundings) -> Tensor<3> {
        let normal = match &self.attn_norm {
            Some(norm) => norm.forward_recorded(x.clone()),
            None => x.clone(),
        };
        let x = x + self.attn.forward(normal, around);
        let normal = self.mlp_norm.forward_recorded(x.clone());
        x + self.mlp.forward(normal)
    }
}

impl ModernBertAttention {
    fn forward(&self, x: Tensor<3>, around: &Surroundings) -> Tensor<3> {
        let all = self.wqkv.forward_adapted(x);
        let [_, _, columns] = all.dims();
        let d = columns / 3;
        let [query, key, value] = [0, 1, 2].map(|part| all.clone().narrow(2, part * d, d));
        let rotary = match self.window {
            Some(_) => &around.local,
            None => &around.global,
        };
        let turned = |x| rotary.apply(x, self.heads);
        let options = AttentionOptions::new(self.heads)
            .with_window(self.window)
            .with_padding(around.padding.clone())
            .with_left_out(LeftOut::Lowest);
        let inputs = [turned(query), turned(key), value];
        let context = attend(inputs, options, &self.dropout);
        self.dropout
            .forward_recorded(self.wo.forward_adapted(context))
    }
}

impl ModernBertMlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [input, gate] = halves(self.wi.forward_adapted(x));
        let hidden = self.activation.gated(input, gate);
        self.wo
            .forward_adapted(self.dropout.forward_recorded(hidden))
    }
}
