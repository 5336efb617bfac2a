//! Burn's transformer encoder and its parts.

use burn::nn::transformer::{
    PositionWiseFeedForward, TransformerEncoder, TransformerEncoderInput, TransformerEncoderLayer,
};
use burn::tensor::{Bool, Tensor, assert_shape};
use burn_flex_fused::ForwardFused;

use super::attention::context;
use super::{AttentionInput, ForwardRecorded};
use crate::record::{expand_input, is_empty_batch};

/// Input of the recorded [`TransformerEncoder`] and [`TransformerEncoderLayer`].
///
/// It has the fields of Burn's [`TransformerEncoderInput`], which are private there, and converts
/// into it. A tensor converts into an input without masks.
///
/// ```
/// use burn::tensor::{Bool, Device, Tensor};
/// use burn_ief::nn::EncoderInput;
///
/// let x = Tensor::<3>::ones([2, 5, 8], &Device::flex());
/// let pad = Tensor::<2>::zeros([2, 5], &Device::flex()).bool();
/// let input = EncoderInput::new(x).mask_pad(pad);
/// assert!(input.mask_attn.is_none());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EncoderInput {
    /// `[M, T, d_model]`.
    pub tensor: Tensor<3>,
    /// True for positions to leave out, `[M, T]`, or `[1, T]` for all samples.
    pub mask_pad: Option<Tensor<2, Bool>>,
    /// True for pairs to leave out, `[M, T, T]`, or `[1, T, T]` for all samples.
    pub mask_attn: Option<Tensor<3, Bool>>,
}

impl EncoderInput {
    /// The sequences `[M, T, d_model]`, without masks.
    pub fn new(tensor: Tensor<3>) -> Self {
        Self {
            tensor,
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

impl From<Tensor<3>> for EncoderInput {
    fn from(tensor: Tensor<3>) -> Self {
        Self::new(tensor)
    }
}

impl From<EncoderInput> for TransformerEncoderInput {
    fn from(input: EncoderInput) -> Self {
        let mut encoder = Self::new(input.tensor);
        if let Some(mask) = input.mask_pad {
            encoder = encoder.mask_pad(mask);
        }
        if let Some(mask) = input.mask_attn {
            encoder = encoder.mask_attn(mask);
        }
        encoder
    }
}

/// Records the two linear layers.
///
/// Burn leaves the activation out of the module's records and traversal, so the parameters of a
/// `SwiGlu` or `PRelu` there do not train, recorded or not.
///
/// # Shapes
///
/// - input and output: `[M, …, d_model]`
///
/// ```
/// use burn::nn::transformer::PositionWiseFeedForwardConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let layer = PositionWiseFeedForwardConfig::new(8, 16).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(layer.forward_recorded(x).dims(), [4, 7, 8]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for PositionWiseFeedForward {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        if is_empty_batch(input.dims()[0]) {
            return input;
        }
        let [d_model, _] = self.linear_inner.weight.shape().dims();
        assert_shape!(input, [.., d_model]);
        let x = self.linear_inner.forward_recorded(input);
        let x = self.activation.forward_fused(x);
        let x = self.dropout.forward_recorded(x);
        self.linear_outer.forward_recorded(x)
    }
}

/// Records attention, feed-forward layers and norms.
///
/// # Shapes
///
/// - input: a tensor `[M, T, d_model]` or an [`EncoderInput`]
/// - output: `[M, T, d_model]`
///
/// ```
/// use burn::nn::transformer::TransformerEncoderConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let encoder = TransformerEncoderConfig::new(8, 16, 2, 1).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// let y = encoder.layers[0].forward_recorded(x);
/// assert_eq!(y.dims(), [4, 7, 8]);
/// ```
impl<I: Into<EncoderInput>> ForwardRecorded<I> for TransformerEncoderLayer {
    type Output = Tensor<3>;

    fn forward_recorded(&self, input: I) -> Tensor<3> {
        let EncoderInput {
            tensor,
            mask_pad,
            mask_attn,
        } = input.into();
        if is_empty_batch(tensor.dims()[0]) {
            return tensor;
        }
        // The residual path does not pass through a recorded call, so it is repeated here.
        let x = expand_input(tensor);
        let path = if self.norm_first {
            self.norm_2.forward_recorded(x.clone())
        } else {
            x.clone()
        };
        let attention = AttentionInput {
            mask_pad,
            mask_attn,
            ..AttentionInput::self_attn(path)
        };
        let path = context(&self.mha, attention);
        let x = x + self.dropout.forward_recorded(path);

        let normed = self.norm_1.forward_recorded(x.clone());
        let x = if self.norm_first { x } else { normed.clone() };
        let path = self.pwff.forward_recorded(normed);
        let x = x + self.dropout.forward_recorded(path);
        if self.norm_first {
            x
        } else {
            self.norm_2.forward_recorded(x)
        }
    }
}

/// Records all layers.
///
/// # Shapes
///
/// - input: a tensor `[M, T, d_model]` or an [`EncoderInput`]
/// - output: `[M, T, d_model]`
///
/// ```
/// use burn::nn::transformer::TransformerEncoderConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::{EncoderInput, ForwardRecorded};
///
/// let device = Device::flex().autodiff();
/// let encoder = TransformerEncoderConfig::new(8, 16, 2, 2).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(encoder.forward_recorded(x.clone()).dims(), [4, 7, 8]);
///
/// let pad = Tensor::<2>::zeros([4, 7], &device).bool();
/// let input = EncoderInput::new(x).mask_pad(pad);
/// assert_eq!(encoder.forward_recorded(input).dims(), [4, 7, 8]);
/// ```
impl<I: Into<EncoderInput>> ForwardRecorded<I> for TransformerEncoder {
    type Output = Tensor<3>;

    fn forward_recorded(&self, input: I) -> Tensor<3> {
        let mut input = input.into();
        if is_empty_batch(input.tensor.dims()[0]) {
            return input.tensor;
        }
        for layer in &self.layers {
            input.tensor = layer.forward_recorded(input.clone());
        }
        input.tensor
    }
}
