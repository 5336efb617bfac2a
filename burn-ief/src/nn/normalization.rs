//! Normalisation layers: layer norm, RMS norm, group norm.
//!
//! Scale and shift are small. Each is expanded to one copy per sample, and `backward` gives the
//! gradients of the copies: these are the rows.

use burn::module::{Param, ParamId};
use burn::nn::{GroupNorm, LayerNorm, RmsNorm};
use burn::tensor::{DType, Tensor, assert_shape};
use burn_flex_fused::{ForwardFused, rms_norm};

use super::ForwardRecorded;
use crate::record::{Recorder, is_empty_batch, recorder};
use crate::rows::Rows;

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

/// Records one gradient row per sample for the scale and the shift.
///
/// # Shapes
///
/// - input and output: `[M, num_channels, …]`
///
/// # Panics
///
/// Panics if axis 1 of `input` is not `num_channels`.
///
/// ```
/// use burn::nn::GroupNormConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let norm = GroupNormConfig::new(2, 6).init(&device);
/// let x = Tensor::<4>::ones([4, 6, 5, 5], &device);
/// assert_eq!(norm.forward_recorded(x).dims(), [4, 6, 5, 5]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for GroupNorm {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        if is_empty_batch(input.dims()[0]) {
            return input;
        }
        let Some(recorder) = recorder() else {
            return self.forward(input);
        };
        let input = recorder.batch(input);
        let (gamma, beta) = match (&self.gamma, &self.beta) {
            (Some(gamma), Some(beta)) if self.affine => (gamma, beta),
            _ => return self.forward(input),
        };
        if !trains(Some(gamma)) && !trains(Some(beta)) {
            return self.forward(input);
        }
        let plain = GroupNorm {
            gamma: None,
            beta: None,
            affine: false,
            ..self.clone()
        };
        let affine = Affine {
            recorder: &recorder,
            axis: 1,
        };
        affine.shift(affine.scale(plain.forward(input), gamma), beta)
    }
}

fn trains(parameter: Option<&Param<Tensor<1>>>) -> bool {
    parameter.is_some_and(|parameter| parameter.is_require_grad())
}

/// Applies scale and shift along one axis, expanded to one copy per sample where they train.
struct Affine<'a> {
    recorder: &'a Recorder,
    axis: usize,
}

impl Affine<'_> {
    fn scale<const D: usize>(&self, x: Tensor<D>, gamma: &Param<Tensor<1>>) -> Tensor<D> {
        let gamma = self.expanded(gamma, &x);
        x * gamma
    }

    fn shift<const D: usize>(&self, x: Tensor<D>, beta: &Param<Tensor<1>>) -> Tensor<D> {
        let beta = self.expanded(beta, &x);
        x + beta
    }

    /// The parameter, broadcastable to `x` and of its dtype.
    fn expanded<const D: usize>(&self, parameter: &Param<Tensor<1>>, x: &Tensor<D>) -> Tensor<D> {
        assert!(
            self.axis > 0,
            "axis 0 is the batch, it cannot be normalised"
        );
        let value = parameter.val().inner();
        let value = if value.dtype() == x.dtype() {
            value
        } else {
            value.cast(x.dtype())
        };
        let [width] = value.dims();
        let mut shape = [1; D];
        shape[self.axis] = width;
        let value = value.reshape(shape);
        if !parameter.is_require_grad() {
            return value;
        }
        let batch = x.dims()[0];
        shape[0] = batch;
        let tap = self.recorder.leaf(value.expand(shape), x, parameter);
        let leaf = tap.value();
        self.recorder.record(parameter, batch, move |grads| {
            let error = tap.error(grads)?;
            Some(Rows::dense(error.reshape([batch, width])))
        });
        leaf
    }
}
