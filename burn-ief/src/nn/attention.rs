//! Multi-head attention.

use burn::nn::Linear;
use burn::nn::attention::{MhaInput, MhaOutput, MultiHeadAttention};
use burn::tensor::activation::{quiet_softmax, softmax};
use burn::tensor::{Bool, Tensor, assert_shape};
use burn_flex_fused::{AttentionOptions, LeftOut, is_fused};

use super::ForwardRecorded;
use super::dropout::attention_dropout;
use crate::record::{Recorder, expand_input, is_empty_batch, recorder, without_samples};

/// Input of the recorded [`MultiHeadAttention`].
///
/// It has the fields of Burn's [`MhaInput`], which are private there, and converts into it.
///
/// ```
/// use burn::tensor::{Bool, Device, Tensor};
/// use burn_ief::nn::AttentionInput;
///
/// let x = Tensor::<3>::ones([2, 5, 8], &Device::flex());
/// let pad = Tensor::<2>::zeros([2, 5], &Device::flex()).bool();
/// let input = AttentionInput::self_attn(x).mask_pad(pad);
/// assert!(input.mask_attn.is_none());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AttentionInput {
    /// `[M, T, d_model]`.
    pub query: Tensor<3>,
    /// `[M, U, d_model]`.
    pub key: Tensor<3>,
    /// `[M, U, d_model]`.
    pub value: Tensor<3>,
    /// True for keys to leave out, `[M, U]`, or `[1, U]` for all samples.
    pub mask_pad: Option<Tensor<2, Bool>>,
    /// True for pairs to leave out, `[M, T, U]`, or `[1, T, U]` for all samples.
    pub mask_attn: Option<Tensor<3, Bool>>,
}

impl AttentionInput {
    /// One tensor `[M, T, d_model]` as query, key and value.
    pub fn self_attn(tensor: Tensor<3>) -> Self {
        Self::new(tensor.clone(), tensor.clone(), tensor)
    }

    /// Query `[M, T, d_model]`, key and value `[M, U, d_model]`.
    pub fn new(query: Tensor<3>, key: Tensor<3>, value: Tensor<3>) -> Self {
        Self {
            query,
            key,
            value,
            mask_pad: None,
            mask_attn: None,
        }
    }

    /// Set the padding mask.
    pub fn mask_pad(mut self, mask_pad: Tensor<2, Bool>) -> Self {
        self.mask_pad = Some(mask_pad);
        self
    }

    /// Set the attention mask.
    pub fn mask_attn(mut self, mask_attn: Tensor<3, Bool>) -> Self {
        self.mask_attn = Some(mask_attn);
        self
    }
}

impl From<AttentionInput> for MhaInput {
    fn from(input: AttentionInput) -> Self {
        let mut mha = Self::new(input.query, input.key, input.value);
        if let Some(mask) = input.mask_pad {
            mha = mha.mask_pad(mask);
        }
        if let Some(mask) = input.mask_attn {
            mha = mha.mask_attn(mask);
        }
        mha
    }
}

/// Records the linear layers for query, key, value and output.
///
/// In a recording with drawn labels, masks with one row per sample are repeated for the copies.
///
/// # Shapes
///
/// - input: see [`AttentionInput`]
/// - output: context `[M, T, d_model]`, weights `[M, n_heads, T, U]`
///
/// ```
/// use burn::nn::attention::MultiHeadAttentionConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::{AttentionInput, ForwardRecorded};
///
/// let device = Device::flex().autodiff();
/// let attention = MultiHeadAttentionConfig::new(8, 2).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// let output = attention.forward_recorded(AttentionInput::self_attn(x));
/// assert_eq!(output.context.dims(), [4, 7, 8]);
/// ```
impl ForwardRecorded<AttentionInput> for MultiHeadAttention {
    type Output = MhaOutput;

    fn forward_recorded(&self, input: AttentionInput) -> MhaOutput {
        if is_empty_batch(input.query.dims()[0]) {
            let [_, positions, width] = input.query.dims();
            let [_, keys, _] = input.key.dims();
            return MhaOutput {
                weights: without_samples([0, self.n_heads, positions, keys], &input.query),
                context: without_samples([0, positions, width], &input.query),
            };
        }
        let Some(recorder) = recorder() else {
            return self.forward(input.into());
        };
        let heads = |x: Tensor<3>, linear: &Linear| {
            assert_shape!(x, [_, _, self.d_model]);
            let x = linear.forward_recorded(x);
            let [batch, positions, _] = x.dims();
            x.reshape([batch, positions, self.n_heads, self.d_k])
                .swap_dims(1, 2)
        };
        let query = heads(input.query, &self.query);
        let key = heads(input.key, &self.key);
        let value = heads(input.value, &self.value);
        let [batch, _, positions, _] = query.dims();

        let scores = query
            .matmul(key.transpose())
            .div_scalar((self.d_k as f32).sqrt());
        let scores = masked(
            scores,
            &recorder,
            self.min_float,
            input.mask_pad,
            input.mask_attn,
        );
        let weights = if self.quiet_softmax {
            quiet_softmax(scores, 3)
        } else {
            softmax(scores, 3)
        };
        let weights = self.dropout.forward_recorded(weights);
        let context = weights.clone().matmul(value);
        let context = context
            .swap_dims(1, 2)
            .reshape([batch, positions, self.d_model]);
        MhaOutput {
            weights,
            context: self.output.forward_recorded(context),
        }
    }
}

/// The context alone. Where nothing needs the weights, no tensor of them is formed on Flex.
pub(super) fn context(attention: &MultiHeadAttention, input: AttentionInput) -> Tensor<3> {
    let finite = attention.min_float.is_finite();
    if attention.quiet_softmax || !finite || !is_fused(&input.query) {
        return attention.forward_recorded(input).context;
    }
    let project = |x: Tensor<3>, linear: &Linear| {
        assert_shape!(x, [_, _, attention.d_model]);
        linear.forward_recorded(x)
    };
    let query = project(input.query, &attention.query);
    let key = project(input.key, &attention.key);
    let value = project(input.value, &attention.value);
    // Burn's scale, whose root is rounded to f32.
    let scale = 1.0 / f64::from((attention.d_k as f32).sqrt());
    let options = AttentionOptions::new(attention.n_heads)
        .with_scale(scale)
        .with_left_out(LeftOut::Value(attention.min_float))
        .with_dropout(attention_dropout(&attention.dropout, &query))
        .with_padding(input.mask_pad.map(expand_input))
        .with_mask(input.mask_attn.map(expand_input));
    let context = burn_flex_fused::attention(query, key, value, &options);
    attention.output.forward_recorded(context)
}

/// Set the scores of masked keys and pairs to `value`.
fn masked(
    mut scores: Tensor<4>,
    recorder: &Recorder,
    value: f64,
    mask_pad: Option<Tensor<2, Bool>>,
    mask_attn: Option<Tensor<3, Bool>>,
) -> Tensor<4> {
    if let Some(mask) = mask_pad {
        let mask = recorder.batch(mask);
        let [batch, keys] = mask.dims();
        scores = scores.mask_fill(mask.reshape([batch, 1, 1, keys]), value);
    }
    if let Some(mask) = mask_attn {
        let mask = recorder.batch(mask);
        let [batch, queries, keys] = mask.dims();
        scores = scores.mask_fill(mask.reshape([batch, 1, queries, keys]), value);
    }
    scores
}
