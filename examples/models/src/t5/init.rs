//! A T5 with random parameters, drawn as the authors of T5 did.

use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer, LinearConfig};
use burn::tensor::Device;

use super::attention::{Attention, AttentionLayer};
use super::bias::Buckets;
use super::feed_forward::{FeedForward, FeedForwardLayer, Gate, Gated, Plain};
use super::norm::Norm;
use super::stack::{Decoder, DecoderBlock, Encoder, EncoderBlock};
use super::{FeedForwardProjection, T5Config, T5ForConditionalGeneration};
use crate::error::Error;

impl T5Config {
    /// A new model with random parameters, whose values are drawn when they are first used.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    pub fn init(&self, device: &Device) -> Result<T5ForConditionalGeneration, Error> {
        self.validate()?;
        let head = LinearConfig::new(self.d_model, self.vocab_size)
            .with_bias(false)
            .with_initializer(self.normal(1.0));
        Ok(T5ForConditionalGeneration {
            shared: self.table(self.vocab_size, self.d_model, 1.0, device),
            encoder: Encoder {
                block: (0..self.num_layers)
                    .map(|block| self.encoder_block(block == 0, device))
                    .collect(),
                final_layer_norm: self.norm(device),
                dropout: self.dropout(),
                buckets: self.buckets(true),
            },
            decoder: Decoder {
                block: (0..self.num_decoder_layers)
                    .map(|block| self.decoder_block(block == 0, device))
                    .collect(),
                final_layer_norm: self.norm(device),
                dropout: self.dropout(),
                buckets: self.buckets(false),
            },
            lm_head: (!self.tie_word_embeddings).then(|| head.init(device)),
            config: self.clone(),
        })
    }

    fn encoder_block(&self, is_first: bool, device: &Device) -> EncoderBlock {
        EncoderBlock {
            self_attention: self.attention_layer(is_first, device),
            feed_forward: self.feed_forward_layer(device),
        }
    }

    fn decoder_block(&self, is_first: bool, device: &Device) -> DecoderBlock {
        DecoderBlock {
            self_attention: self.attention_layer(is_first, device),
            cross_attention: self.attention_layer(false, device),
            feed_forward: self.feed_forward_layer(device),
        }
    }

    fn attention_layer(&self, has_bias: bool, device: &Device) -> AttentionLayer {
        let (d, inner) = (self.d_model, self.num_heads * self.d_kv);
        let linear = |d_input, d_output, std| {
            LinearConfig::new(d_input, d_output)
                .with_bias(false)
                .with_initializer(self.normal(std))
                .init(device)
        };
        // There is no division of the scores: the queries start small instead.
        let table = || {
            let (buckets, heads) = (self.relative_attention_num_buckets, self.num_heads);
            self.table(buckets, heads, inverse_root(d), device)
        };
        AttentionLayer {
            attention: Attention {
                q: linear(d, inner, inverse_root(d * self.d_kv)),
                k: linear(d, inner, inverse_root(d)),
                v: linear(d, inner, inverse_root(d)),
                o: linear(inner, d, inverse_root(inner)),
                relative_attention_bias: has_bias.then(table),
                dropout: self.dropout(),
                num_heads: self.num_heads,
            },
            layer_norm: self.norm(device),
            dropout: self.dropout(),
        }
    }

    fn feed_forward_layer(&self, device: &Device) -> FeedForwardLayer {
        let (d, hidden) = (self.d_model, self.d_ff);
        let linear = |d_input, d_output| {
            LinearConfig::new(d_input, d_output)
                .with_bias(false)
                .with_initializer(self.normal(inverse_root(d_input)))
                .init(device)
        };
        let gated = |activation| Gated {
            wi_0: linear(d, hidden),
            wi_1: linear(d, hidden),
            wo: linear(hidden, d),
            dropout: self.dropout(),
            activation,
        };
        let dense = match self.feed_forward {
            FeedForwardProjection::Relu => FeedForward::Plain(Plain {
                wi: linear(d, hidden),
                wo: linear(hidden, d),
                dropout: self.dropout(),
            }),
            FeedForwardProjection::GatedGelu => FeedForward::Gated(gated(Gate::Gelu)),
            FeedForwardProjection::GatedSilu => FeedForward::Gated(gated(Gate::Silu)),
        };
        FeedForwardLayer {
            dense,
            layer_norm: self.norm(device),
            dropout: self.dropout(),
        }
    }

    fn table(&self, entries: usize, width: usize, std: f64, device: &Device) -> Embedding {
        EmbeddingConfig::new(entries, width)
            .with_initializer(self.normal(std))
            .init(device)
    }

    fn norm(&self, device: &Device) -> Norm {
        Norm {
            weight: Initializer::Ones.init([self.d_model], device),
            epsilon: self.layer_norm_epsilon,
        }
    }

    fn dropout(&self) -> Dropout {
        DropoutConfig::new(self.dropout_rate).init()
    }

    fn buckets(&self, bidirectional: bool) -> Buckets {
        Buckets {
            count: self.relative_attention_num_buckets,
            max_distance: self.relative_attention_max_distance,
            bidirectional,
        }
    }

    fn normal(&self, std: f64) -> Initializer {
        Initializer::Normal {
            mean: 0.0,
            std: self.initializer_factor * std,
        }
    }
}

fn inverse_root(width: usize) -> f64 {
    (width as f64).powf(-0.5)
}
