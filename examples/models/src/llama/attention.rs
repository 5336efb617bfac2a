//! Attention whose query heads share keys and values in groups.

use burn::module::Module;
use burn::nn::{Dropout, Linear, RmsNorm};
use burn::tensor::{Bool, Tensor};
use burn_flex_fused::{AttentionOptions, LeftOut};
use burn_peft::ForwardAdapted;

use super::norm::rms_norm_of_heads;
use super::past::Past;
use crate::attention::attend;
use crate::rope::Rotary;

/// Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245) with rotary positions.
///
/// Queries, keys and values have a projection each, or parts of one projection's outputs, in this
/// order (Phi-3).
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::llama::LlamaConfig;
///
/// let config = LlamaConfig::new(10, 8, 16, 1, 4).with_num_key_value_heads(Some(2));
/// let model = config.init(&Device::flex())?;
/// let attention = &model.model.layers[0].self_attn;
/// assert_eq!(attention.q_proj.as_ref().unwrap().weight.dims(), [8, 8]);
/// assert_eq!(attention.k_proj.as_ref().unwrap().weight.dims(), [8, 4]);
/// let model = config.with_fused_projections(true).init(&Device::flex())?;
/// let attention = &model.model.layers[0].self_attn;
/// assert_eq!(attention.qkv_proj.as_ref().unwrap().weight.dims(), [8, 16]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct LlamaAttention {
    /// To queries, `[d, heads * width]`.
    pub q_proj: Option<Linear>,
    /// To keys, `[d, key_value_heads * width]`.
    pub k_proj: Option<Linear>,
    /// To values, `[d, key_value_heads * width]`.
    pub v_proj: Option<Linear>,
    /// To all three, `[d, (heads + 2 key_value_heads) * width]`, in the place of the others.
    pub qkv_proj: Option<Linear>,
    /// From the heads back, `[heads * width, d]`.
    pub o_proj: Linear,
    /// Norm of each head's queries, `[width]`.
    pub q_norm: Option<RmsNorm>,
    /// Norm of each head's keys, `[width]`.
    pub k_norm: Option<RmsNorm>,
    /// Dropout on the attention weights.
    pub dropout: Dropout,
    pub(super) heads: usize,
    pub(super) key_value_heads: usize,
    #[module(skip)]
    pub(super) kind: AttentionKind,
}

/// What differs from family to family and from layer to layer.
#[derive(Debug, Clone)]
pub(super) struct AttentionKind {
    /// Whether queries and keys are rotated.
    pub rotates: bool,
    /// Keys that a query sees, its own position included.
    pub window: Option<usize>,
    /// Factor of the scores.
    pub scale: f64,
    /// `cap · tanh(score / cap)` in the place of a score.
    pub soft_cap: Option<f64>,
    /// What norms add to their weights.
    pub norm_offset: f64,
}

/// What all layers of one forward pass have in common.
pub(super) struct Surroundings {
    /// Rotations of the queries' positions.
    pub rotary: Rotary,
    /// Those in sliding layers, where they differ.
    pub local_rotary: Option<Rotary>,
    /// True for keys to leave out, `[M, U]`.
    pub padding: Option<Tensor<2, Bool>>,
    /// In the place of windows: true for keys that are out of a query's window, `[M, T, U]`.
    pub out_of_window: Option<Tensor<3, Bool>>,
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
        let [query, key, value] = self.project(x);
        let query = self.turned(query, &self.q_norm, self.heads, around);
        let key = self.turned(key, &self.k_norm, shared, around);
        let (key, value) = match past {
            Some(past) => past.extended(key, value),
            None => (key, value),
        };
        let options = self.options(around);
        let context = attend([query, key, value], options, &self.dropout);
        self.o_proj.forward_adapted(context)
    }

    /// Queries, keys and values.
    fn project(&self, x: Tensor<3>) -> [Tensor<3>; 3] {
        match (&self.q_proj, &self.k_proj, &self.v_proj, &self.qkv_proj) {
            (Some(query), Some(key), Some(value), _) => {
                [query, key, value].map(|linear| linear.forward_adapted(x.clone()))
            }
            (_, _, _, Some(all)) => {
                let all = all.forward_adapted(x);
                let [_, _, columns] = all.dims();
                let width = columns / (self.heads + 2 * self.key_value_heads);
                let (queries, shared) = (self.heads * width, self.key_value_heads * width);
                [
                    all.clone().narrow(2, 0, queries),
                    all.clone().narrow(2, queries, shared),
                    all.narrow(2, queries + shared, shared),
                ]
            }
            _ => panic!("LlamaAttention: expected q_proj, k_proj and v_proj, or qkv_proj"),
        }
    }

    /// Queries or keys with their norm and rotation.
    fn turned(
        &self,
        x: Tensor<3>,
        norm: &Option<RmsNorm>,
        heads: usize,
        around: &Surroundings,
    ) -> Tensor<3> {
        let x = match norm {
            Some(norm) => rms_norm_of_heads(norm, x, heads, self.kind.norm_offset),
            None => x,
        };
        if !self.kind.rotates {
            return x;
        }
        let local = around.local_rotary.as_ref();
        let local = local.filter(|_| self.kind.window.is_some());
        local.unwrap_or(&around.rotary).apply(x, heads)
    }

    fn options(&self, around: &Surroundings) -> AttentionOptions {
        let (window, mask) = match (self.kind.window, &around.out_of_window) {
            (Some(_), Some(out)) => (None, Some(out.clone())),
            (window, _) => (window, None),
        };
        // A query that sees no key at all (padding on the left) weighs all alike, as in
        // `transformers`, and nobody reads it.
        AttentionOptions::new(self.heads)
            .with_key_value_heads(self.key_value_heads)
            .with_scale(self.kind.scale)
            .with_soft_cap(self.kind.soft_cap)
            .with_causal(true)
            .with_window(window)
            .with_padding(around.padding.clone())
            .with_mask(mask)
            .with_left_out(LeftOut::Lowest)
    }
}
