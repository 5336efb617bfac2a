//! Layer norm and RMS norm.

use burn::module::{Param, ParamId};
use burn::nn::{LayerNorm, RmsNorm};
use burn::tensor::{DType, Tensor, assert_shape};
use burn_flex_fused::{ForwardFused, rms_norm};

use super::{Affine, trains};
use crate::nn::ForwardRecorded;
use crate::record::{is_empty_batch, recorder};

/// Records one gradient row per sample for the scale and the shift.
///
/// # Shapes
///
/// - input and output: `[M, …, d_model]`
///
/// # Panics
///
/// Panics if the last axis of `input` is not `d_model`, or in a recording if it is the batch
/// axis.
///
/// ```
/// use burn::nn::LayerNormConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let norm = LayerNormConfig::new(8).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(norm.forward_recorded(x).dims(), [4, 7, 8]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for LayerNorm {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        if is_empty_batch(input.dims()[0]) {
            return input;
        }
        let Some(recorder) = recorder() else {
            return self.forward_fused(input);
        };
        let input = recorder.batch(input);
        if !trains(Some(&self.gamma)) && !trains(self.beta.as_ref()) {
            return self.forward_fused(input);
        }
        let [d_model] = self.gamma.shape().dims();
        assert_shape!(input, [.., d_model]);
        // Burn runs the whole layer in f32 if the input is f16, because squares overflow. The scale
        // and the shift are applied in f32 too.
        let original = input.dtype();
        let input = match original {
            DType::F16 => input.cast(DType::F32),
            _ => input,
        };
        // Burn's `epsilon` is private, so Burn's own layer normalises, with a scale of one.
        let ones = Tensor::ones([d_model], (&input.device().inner(), input.dtype()));
        let mut plain = self.clone();
        plain.gamma = Param::initialized(ParamId::new(), ones);
        plain.beta = None;
        let affine = Affine {
            recorder: &recorder,
            axis: D - 1,
        };
        let y = affine.scale(plain.forward_fused(input), &self.gamma);
        let y = match &self.beta {
            Some(beta) => affine.shift(y, beta),
            None => y,
        };
        match original {
            DType::F16 => y.cast(original),
            _ => y,
        }
    }
}

/// Records one gradient row per sample for the scale.
///
/// # Shapes
///
/// - input and output: `[M, …, d_model]`
///
/// # Panics
///
/// Panics if the last axis of `input` is not `d_model`, or in a recording if it is the batch
/// axis.
///
/// ```
/// use burn::nn::RmsNormConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let norm = RmsNormConfig::new(8).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(norm.forward_recorded(x).dims(), [4, 7, 8]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for RmsNorm {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        if is_empty_batch(input.dims()[0]) {
            return input;
        }
        let Some(recorder) = recorder() else {
            return self.forward_fused(input);
        };
        let input = recorder.batch(input);
        if !trains(Some(&self.gamma)) {
            return self.forward_fused(input);
        }
        let [d_model] = self.gamma.shape().dims();
        assert_shape!(input, [.., d_model]);
        let dtype = input.dtype();
        let affine = Affine {
            recorder: &recorder,
            axis: D - 1,
        };
        let normal = if dtype == DType::F32 {
            let ones = Tensor::ones([d_model], (&input.device().inner(), dtype));
            rms_norm(input, ones, self.epsilon)
        } else {
            // Burn computes the mean square in f32 for every dtype of the input.
            let squares = input.clone().cast(DType::F32).square();
            let rms = (squares.mean_dim(D - 1) + self.epsilon).sqrt();
            input / rms.cast(dtype)
        };
        affine.scale(normal, &self.gamma)
    }
}
