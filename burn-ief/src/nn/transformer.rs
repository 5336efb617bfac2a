//! Burn's transformer encoder and its parts.

use burn::nn::transformer::{
    PositionWiseFeedForward, TransformerEncoder, TransformerEncoderInput, TransformerEncoderLayer,
};
use burn::tensor::{Bool, Tensor, assert_shape};

use super::{
    AttentionInput, DropoutRecorded, LayerNormRecorded, LinearRecorded, MultiHeadAttentionRecorded,
};
use crate::record::recorder;

/// Recorded form of [`PositionWiseFeedForward`].
///
/// Burn leaves its activation out of the module's records and traversal, so the parameters of a
/// `SwiGlu` or `PRelu` there do not train, recorded or not.
///
/// ```
/// use burn::nn::transformer::PositionWiseFeedForwardConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::PositionWiseFeedForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let layer = PositionWiseFeedForwardConfig::new(8, 16).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(layer.forward_recorded(x).dims(), [4, 7, 8]);
/// ```
pub trait PositionWiseFeedForwardRecorded {
    /// Apply the layer, see [`PositionWiseFeedForward::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[M, …, d_model]`
    /// - output: `[M, …, d_model]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_model`.
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D>;
}

/// Recorded form of [`TransformerEncoderLayer`].
///
/// ```
/// use burn::nn::transformer::TransformerEncoderConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::TransformerEncoderLayerRecorded;
///
/// let device = Device::flex().autodiff();
/// let encoder = TransformerEncoderConfig::new(8, 16, 2, 1).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// let y = encoder.layers[0].forward_recorded(x, None, None);
/// assert_eq!(y.dims(), [4, 7, 8]);
/// ```
pub trait TransformerEncoderLayerRecorded {
    /// Apply the layer, see [`TransformerEncoderLayer::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[M, T, d_model]`
    /// - mask_pad: `[M, T]` or `[1, T]`
    /// - mask_attn: `[M, T, T]` or `[1, T, T]`
    /// - output: `[M, T, d_model]`
    fn forward_recorded(
        &self,
        input: Tensor<3>,
        mask_pad: Option<Tensor<2, Bool>>,
        mask_attn: Option<Tensor<3, Bool>>,
    ) -> Tensor<3>;
}

/// Recorded form of [`TransformerEncoder`].
///
/// Takes the fields of Burn's [`TransformerEncoderInput`], which cannot be read, one by one.
///
/// ```
/// use burn::nn::transformer::TransformerEncoderConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::TransformerEncoderRecorded;
///
/// let device = Device::flex().autodiff();
/// let encoder = TransformerEncoderConfig::new(8, 16, 2, 2).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(encoder.forward_recorded(x, None, None).dims(), [4, 7, 8]);
/// ```
pub trait TransformerEncoderRecorded {
    /// Apply all layers, see [`TransformerEncoder::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[M, T, d_model]`
    /// - mask_pad: `[M, T]` or `[1, T]`
    /// - mask_attn: `[M, T, T]` or `[1, T, T]`
    /// - output: `[M, T, d_model]`
    fn forward_recorded(
        &self,
        input: Tensor<3>,
        mask_pad: Option<Tensor<2, Bool>>,
        mask_attn: Option<Tensor<3, Bool>>,
    ) -> Tensor<3>;
}

impl PositionWiseFeedForwardRecorded for PositionWiseFeedForward {
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        if recorder().is_none() {
            return self.forward(input);
        }
        let [d_model, _] = self.linear_inner.weight.shape().dims();
        assert_shape!(input, [.., d_model]);
        let x = self.linear_inner.forward_recorded(input);
        let x = self.activation.forward(x);
        let x = self.dropout.forward_recorded(x);
        self.linear_outer.forward_recorded(x)
    }
}

impl TransformerEncoderLayerRecorded for TransformerEncoderLayer {
    fn forward_recorded(
        &self,
        input: Tensor<3>,
        mask_pad: Option<Tensor<2, Bool>>,
        mask_attn: Option<Tensor<3, Bool>>,
    ) -> Tensor<3> {
        let Some(recorder) = recorder() else {
            return self.forward(input, mask_pad, mask_attn);
        };
        // The residual path does not pass through a recorded call.
        let x = recorder.batch(input);
        let path = match self.norm_first {
            true => self.norm_2.forward_recorded(x.clone()),
            false => x.clone(),
        };
        let attention = AttentionInput {
            mask_pad,
            mask_attn,
            ..AttentionInput::self_attn(path)
        };
        let path = self.mha.forward_recorded(attention).context;
        let x = x + self.dropout.forward_recorded(path);

        let (x, path) = match self.norm_first {
            true => (x.clone(), self.norm_1.forward_recorded(x)),
            false => {
                let x = self.norm_1.forward_recorded(x);
                (x.clone(), x)
            }
        };
        let path = self.pwff.forward_recorded(path);
        let x = x + self.dropout.forward_recorded(path);
        match self.norm_first {
            true => x,
            false => self.norm_2.forward_recorded(x),
        }
    }
}

impl TransformerEncoderRecorded for TransformerEncoder {
    fn forward_recorded(
        &self,
        input: Tensor<3>,
        mask_pad: Option<Tensor<2, Bool>>,
        mask_attn: Option<Tensor<3, Bool>>,
    ) -> Tensor<3> {
        if recorder().is_some() {
            return self.layers.iter().fold(input, |x, layer| {
                layer.forward_recorded(x, mask_pad.clone(), mask_attn.clone())
            });
        }
        let mut input = TransformerEncoderInput::new(input);
        if let Some(mask) = mask_pad {
            input = input.mask_pad(mask);
        }
        if let Some(mask) = mask_attn {
            input = input.mask_attn(mask);
        }
        self.forward(input)
    }
}
