//! Attention whose query heads share keys and values in groups.

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Tensor};
use burn_flex_fused::{AttentionOptions, LeftOut, attention, is_fused};
use burn_ief::nn::{ForwardRecorded, attention_dropout};
use burn_peft::ForwardAdapted;

use super::rope::Rotary;
use crate::encoder::drops;

/// Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245) with rotary positions.
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::llama::LlamaConfig;
///
/// let config = LlamaConfig::new(10, 8, 16, 1, 4).with_num_key_value_heads(Some(2));
/// let model = config.init(&Device::flex())?;
/// let attention = &model.model.layers[0].self_attn;
/// assert_eq!(attention.q_proj.weight.dims(), [8, 8]);
/// assert_eq!(attention.k_proj.weight.dims(), [8, 4]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct LlamaAttention {
    /// To queries, `[d, heads * width]`.
    pub q_proj: Linear,
    /// To keys, `[d, key_value_heads * width]`.
    pub k_proj: Linear,
    /// To values, `[d, key_value_heads * width]`.
    pub v_proj: Linear,
    /// From the heads back, `[heads * width, d]`.
    pub o_proj: Linear,
    /// Dropout on the attention weights.
    pub dropout: Dropout,
    pub(super) heads: usize,
    pub(super) key_value_heads: usize,
}

/// What all layers of one forward pass have in common.
pub(super) struct Surroundings {
    /// Rotations of the queries' positions.
    pub rotary: Rotary,
    /// Pairs to leave out, see [`causal`](super::mask::causal).
    pub mask: Option<Tensor<4, Bool>>,
}

/// Rotated keys and values of earlier positions, `[M, U, key_value_heads * width]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    keys: Option<Tensor<3>>,
    values: Option<Tensor<3>>,
}

impl Past {
    /// Append positions and return all of them.
    fn extended(&mut self, keys: Tensor<3>, values: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
        let append = |past: &mut Option<Tensor<3>>, new: Tensor<3>| {
            let all = match past.take() {
                Some(past) => Tensor::cat(vec![past, new], 1),
                None => new,
            };
            past.insert(all).clone()
        };
        (
            append(&mut self.keys, keys),
            append(&mut self.values, values),
        )
    }
}

impl LlamaAttention {
    /// On `[M, T, d]`; `past` takes the new keys and values in.
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        around: &Surroundings,
        past: Option<&mut Past>,
    ) -> Tensor<3> {
        let shared = self.key_value_heads;
        let query = self.q_proj.forward_adapted(x.clone());
        let query = around.rotary.apply(query, self.heads);
        let key = self.k_proj.forward_adapted(x.clone());
        let key = around.rotary.apply(key, shared);
        let value = self.v_proj.forward_adapted(x);
        let (key, value) = match past {
            Some(past) => past.extended(key, value),
            None => (key, value),
        };
        let context = if drops(&self.dropout, &query) && !is_fused(&query) {
            self.with_dropout(query, key, value, around)
        } else {
            let mask = around.mask.clone().map(|mask| {
                let [batch, _, queries, keys] = mask.dims();
                mask.reshape([batch, queries, keys])
            });
            // A query that sees no key at all (padding on the left) weighs all alike, as in
            // `transformers`, and nobody reads it.
            let options = AttentionOptions::new(self.heads)
                .with_key_value_heads(shared)
                .with_mask(mask)
                .with_dropout(attention_dropout(&self.dropout, &query))
                .with_left_out(LeftOut::Lowest);
            attention(query, key, value, &options)
        };
        self.o_proj.forward_adapted(context)
    }

    /// The same with dropout of the weights.
    fn with_dropout(
        &self,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Tensor<3>,
        around: &Surroundings,
    ) -> Tensor<3> {
        let shared = self.key_value_heads;
        let query = split(query, self.heads);
        let (key, value) = (split(key, shared), split(value, shared));
        let [batch, heads, queries, width] = query.dims();
        let [_, _, keys, _] = key.dims();
        let query = query * (width as f64).powf(-0.5);
        // The query heads of a group lie one after the other: stacked, they share one product.
        let stacked = [batch, shared, heads / shared * queries, width];
        let scores = query.reshape(stacked).matmul(key.transpose());
        let weights = self.weights(scores.reshape([batch, heads, queries, keys]), around);
        let stacked = [batch, shared, heads / shared * queries, keys];
        let context = weights.reshape(stacked).matmul(value);
        context
            .reshape([batch, heads, queries, width])
            .swap_dims(1, 2)
            .reshape([batch, queries, heads * width])
    }

    fn weights(&self, scores: Tensor<4>, around: &Surroundings) -> Tensor<4> {
        let dtype = scores.dtype();
        let scores = match dtype {
            DType::F16 | DType::BF16 => scores.cast(DType::F32),
            _ => scores,
        };
        let least = match scores.dtype() {
            DType::F64 => f64::MIN,
            _ => f64::from(f32::MIN),
        };
        let scores = match &around.mask {
            Some(mask) => scores.mask_fill(mask.clone(), least),
            None => scores,
        };
        self.dropout
            .forward_recorded(softmax(scores, 3).cast(dtype))
    }
}

/// `[M, T, heads * width]` to `[M, heads, T, width]`.
fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, positions, width] = x.dims();
    x.reshape([batch, positions, heads, width / heads])
        .swap_dims(1, 2)
}
