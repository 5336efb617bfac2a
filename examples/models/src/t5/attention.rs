//! Attention without scaled scores, and the keys and values that it may keep.

use burn::module::Module;
use burn::nn::{Dropout, Embedding, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Tensor};
use burn_flex_fused::{AttentionOptions, LeftOut, attention, is_fused};
use burn_ief::nn::{ForwardRecorded, attention_dropout};
use burn_peft::ForwardAdapted;

use super::norm::Norm;
use crate::encoder::drops;

/// Multi-head attention with scores `q · k + bias`.
#[derive(Module, Debug)]
pub(super) struct Attention {
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    /// Of block 0; the other blocks of the stack use the same biases.
    pub relative_attention_bias: Option<Embedding>,
    pub dropout: Dropout,
    pub num_heads: usize,
}

/// Keys and values of a sequence, each `[M, U, heads · d_kv]`.
#[derive(Debug, Clone)]
pub(super) struct KeyValue {
    key: Tensor<3>,
    value: Tensor<3>,
}

impl KeyValue {
    /// Those of this sequence and of the positions that follow it.
    fn followed_by(self, later: Self) -> Self {
        Self {
            key: Tensor::cat(vec![self.key, later.key], 1),
            value: Tensor::cat(vec![self.value, later.value], 1),
        }
    }
}

impl Attention {
    /// Keys and values of a sequence `[M, U, d_model]`.
    pub fn keys_values(&self, sequence: Tensor<3>) -> KeyValue {
        KeyValue {
            key: self.k.forward_adapted(sequence.clone()),
            value: self.v.forward_adapted(sequence),
        }
    }

    /// `x` `[M, T, d_model]` looks at a sequence of U positions; `bias` is added to the scores
    /// `[M, heads, T, U]`.
    fn forward(&self, x: Tensor<3>, sequence: &KeyValue, bias: Option<Tensor<4>>) -> Tensor<3> {
        let query = self.q.forward_adapted(x);
        let KeyValue { key, value } = sequence.clone();
        let fused = is_fused(&query) && !bias.as_ref().is_some_and(Tensor::is_tracked);
        let context = if drops(&self.dropout, &query) && !fused {
            self.with_dropout(query, key, value, bias)
        } else {
            let options = AttentionOptions::new(self.num_heads)
                .with_scale(1.0)
                .with_bias(bias)
                .with_dropout(attention_dropout(&self.dropout, &query))
                .with_left_out(LeftOut::Lowest);
            attention(query, key, value, &options)
        };
        self.o.forward_adapted(context)
    }

    /// The same with dropout of the weights.
    fn with_dropout(
        &self,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Tensor<3>,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let scores = self.heads(query).matmul(self.heads(key).transpose());
        let scores = match bias {
            Some(bias) => scores + bias,
            None => scores,
        };
        let weights = self.dropout.forward_recorded(normalised(scores));
        let context = weights.matmul(self.heads(value));
        let [batch, heads, positions, width] = context.dims();
        context
            .swap_dims(1, 2)
            .reshape([batch, positions, heads * width])
    }

    /// `[M, T, heads · d_kv]` to `[M, heads, T, d_kv]`.
    fn heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [batch, positions, width] = x.dims();
        x.reshape([batch, positions, self.num_heads, width / self.num_heads])
            .swap_dims(1, 2)
    }
}

/// Softmax along the keys, never below f32.
fn normalised(scores: Tensor<4>) -> Tensor<4> {
    match scores.dtype() {
        dtype @ (DType::F16 | DType::BF16) => softmax(scores.cast(DType::F32), 3).cast(dtype),
        _ => softmax(scores, 3),
    }
}

/// Attention after a norm, with a residual connection.
#[derive(Module, Debug)]
pub(super) struct AttentionLayer {
    pub attention: Attention,
    pub layer_norm: Norm,
    pub dropout: Dropout,
}

impl AttentionLayer {
    /// A sequence `[M, T, d_model]` looks at itself and at `past` positions before it; also the
    /// keys and values of both.
    pub fn look_back(
        &self,
        hidden: Tensor<3>,
        past: Option<KeyValue>,
        bias: Tensor<4>,
    ) -> (Tensor<3>, KeyValue) {
        let x = self.layer_norm.forward(hidden.clone());
        let own = self.attention.keys_values(x.clone());
        let sequence = match past {
            Some(past) => past.followed_by(own),
            None => own,
        };
        let context = self.attention.forward(x, &sequence, Some(bias));
        (self.added(hidden, context), sequence)
    }

    /// A sequence `[M, T, d_model]` looks at another one.
    pub fn look_at(
        &self,
        hidden: Tensor<3>,
        sequence: &KeyValue,
        bias: Option<Tensor<4>>,
    ) -> Tensor<3> {
        let x = self.layer_norm.forward(hidden.clone());
        let context = self.attention.forward(x, sequence, bias);
        self.added(hidden, context)
    }

    fn added(&self, hidden: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        hidden + self.dropout.forward_recorded(context)
    }
}
