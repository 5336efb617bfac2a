//! New models with random weights.

use burn::module::Param;
use burn::nn::{
    DropoutConfig, Embedding, EmbeddingConfig, Initializer, Linear, LinearConfig, RmsNorm,
    RmsNormConfig,
};
use burn::tensor::{Device, Tensor};

use super::LlamaForCausalLM;
use super::attention::{AttentionKind, LlamaAttention};
use super::config::LlamaConfig;
use super::decoder::{LlamaDecoderLayer, LlamaModel};
use super::feed_forward::LlamaMlp;
use crate::error::Error;

impl LlamaConfig {
    /// A new model with random weights, every parameter trainable.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<LlamaForCausalLM, Error> {
        self.validate()?;
        let head = || self.linear(self.hidden_size, self.vocab_size, false, device);
        Ok(LlamaForCausalLM {
            model: LlamaModel {
                embed_tokens: self.embedding(device),
                layers: (0..self.num_hidden_layers)
                    .map(|layer| self.layer(layer, device))
                    .collect(),
                norm: self.norm(self.hidden_size, device),
                config: self.clone(),
            },
            lm_head: (!self.tie_word_embeddings).then(head),
            config: self.clone(),
        })
    }

    fn layer(&self, layer: usize, device: &Device) -> LlamaDecoderLayer {
        let norm = || self.norm(self.hidden_size, device);
        let further = || self.output_norms.then(norm);
        LlamaDecoderLayer {
            input_layernorm: norm(),
            self_attn: self.attention(layer, device),
            post_attention_layernorm: norm(),
            pre_feedforward_layernorm: further(),
            post_feedforward_layernorm: further(),
            mlp: self.feed_forward(device),
            dropout: DropoutConfig::new(self.residual_dropout).init(),
            norm_offset: self.norm_offset(),
        }
    }

    fn feed_forward(&self, device: &Device) -> LlamaMlp {
        let (d, hidden) = (self.hidden_size, self.intermediate_size);
        let input = |outputs| self.linear(d, outputs, self.mlp_bias, device);
        let separate = |outputs| (!self.fused_projections).then(|| input(outputs));
        LlamaMlp {
            gate_proj: separate(hidden),
            up_proj: separate(hidden),
            gate_up_proj: self.fused_projections.then(|| input(2 * hidden)),
            down_proj: self.linear(hidden, d, self.mlp_bias, device),
            activation: self.activation.clone(),
        }
    }

    fn attention(&self, layer: usize, device: &Device) -> LlamaAttention {
        let width = self.head_width();
        let queries = self.num_attention_heads * width;
        let shared = self.key_value_heads() * width;
        let input = |outputs| self.linear(self.hidden_size, outputs, self.qkv_bias, device);
        let separate = |outputs| (!self.fused_projections).then(|| input(outputs));
        let norm = || self.head_norms.then(|| self.norm(width, device));
        LlamaAttention {
            q_proj: separate(queries),
            k_proj: separate(shared),
            v_proj: separate(shared),
            qkv_proj: self.fused_projections.then(|| input(queries + 2 * shared)),
            o_proj: self.linear(queries, self.hidden_size, self.output_bias, device),
            q_norm: norm(),
            k_norm: norm(),
            dropout: DropoutConfig::new(self.attention_dropout).init(),
            heads: self.num_attention_heads,
            key_value_heads: self.key_value_heads(),
            kind: AttentionKind {
                rotates: self.rotates(layer),
                window: self.window(layer),
                scale: self
                    .query_pre_attn_scalar
                    .unwrap_or(width as f64)
                    .powf(-0.5),
                soft_cap: self.attn_logit_softcapping,
                norm_offset: self.norm_offset(),
            },
        }
    }

    /// What norms add to their weights.
    pub(super) fn norm_offset(&self) -> f64 {
        if self.unit_offset_norms { 1.0 } else { 0.0 }
    }

    /// A norm that scales by one.
    fn norm(&self, width: usize, device: &Device) -> RmsNorm {
        let norm = RmsNormConfig::new(width)
            .with_epsilon(self.rms_norm_eps)
            .init(device);
        if self.unit_offset_norms {
            RmsNorm {
                gamma: Initializer::Zeros.init([width], device),
                ..norm
            }
        } else {
            norm
        }
    }

    fn normal(&self) -> Initializer {
        Initializer::Normal {
            mean: 0.0,
            std: self.initializer_range,
        }
    }

    fn embedding(&self, device: &Device) -> Embedding {
        EmbeddingConfig::new(self.vocab_size, self.hidden_size)
            .with_initializer(self.normal())
            .init(device)
    }

    fn linear(&self, inputs: usize, outputs: usize, bias: bool, device: &Device) -> Linear {
        let zeros = || -> Param<Tensor<1>> { Initializer::Zeros.init([outputs], device) };
        let layer = LinearConfig::new(inputs, outputs)
            .with_bias(false)
            .with_initializer(self.normal())
            .init(device);
        Linear {
            bias: bias.then(zeros),
            ..layer
        }
    }
}
