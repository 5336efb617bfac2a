//! Normalisation layers: layer norm, RMS norm, group norm.
//!
//! Scale and shift are small, so each is a per-sample leaf: its rows come dense from `backward`.

use burn::module::{Param, ParamId};
use burn::nn::{GroupNorm, LayerNorm, RmsNorm};
use burn::tensor::{DType, Tensor, assert_shape};

use crate::record::{Recorder, recorder};
use crate::rows::Rows;

/// Recorded form of [`LayerNorm`].
///
/// ```
/// use burn::nn::LayerNormConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::LayerNormRecorded;
///
/// let device = Device::flex().autodiff();
/// let norm = LayerNormConfig::new(8).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(norm.forward_recorded(x).dims(), [4, 7, 8]);
/// ```
pub trait LayerNormRecorded {
    /// Normalise the last axis, see [`LayerNorm::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[M, …, d_model]`
    /// - output: `[M, …, d_model]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_model`, or in a recording if it is the batch
    /// axis.
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D>;
}

/// Recorded form of [`RmsNorm`].
///
/// ```
/// use burn::nn::RmsNormConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::RmsNormRecorded;
///
/// let device = Device::flex().autodiff();
/// let norm = RmsNormConfig::new(8).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(norm.forward_recorded(x).dims(), [4, 7, 8]);
/// ```
pub trait RmsNormRecorded {
    /// Normalise the last axis, see [`RmsNorm::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[M, …, d_model]`
    /// - output: `[M, …, d_model]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_model`, or in a recording if it is the batch
    /// axis.
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D>;
}

/// Recorded form of [`GroupNorm`].
///
/// ```
/// use burn::nn::GroupNormConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::GroupNormRecorded;
///
/// let device = Device::flex().autodiff();
/// let norm = GroupNormConfig::new(2, 6).init(&device);
/// let x = Tensor::<4>::ones([4, 6, 5, 5], &device);
/// assert_eq!(norm.forward_recorded(x).dims(), [4, 6, 5, 5]);
/// ```
pub trait GroupNormRecorded {
    /// Normalise groups of channels, see [`GroupNorm::forward`].
    ///
    /// # Shapes
    ///
    /// - input: `[M, num_channels, …]`
    /// - output: `[M, num_channels, …]`
    ///
    /// # Panics
    ///
    /// Panics if axis 1 of `input` is not `num_channels`.
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D>;
}

impl LayerNormRecorded for LayerNorm {
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let Some(recorder) = recorder() else {
            return self.forward(input);
        };
        let input = recorder.batch(input);
        if !trains(Some(&self.gamma)) && !trains(self.beta.as_ref()) {
            return self.forward(input);
        }
        let [d_model] = self.gamma.shape().dims();
        assert_shape!(input, [.., d_model]);
        // Burn runs the whole layer wider where f16 would overflow; so do the affine leaves.
        let original = input.dtype();
        let input = match original {
            DType::F16 => input.cast(DType::F32),
            _ => input,
        };
        // Burn's own normalisation with its (private) epsilon: the layer with a scale of one.
        let ones = Tensor::ones([d_model], (&input.device().inner(), input.dtype()));
        let mut plain = self.clone();
        plain.gamma = Param::initialized(ParamId::new(), ones);
        plain.beta = None;
        let affine = Affine {
            recorder: &recorder,
            axis: D - 1,
        };
        let y = affine.scale(plain.forward(input), &self.gamma);
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

impl RmsNormRecorded for RmsNorm {
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let Some(recorder) = recorder() else {
            return self.forward(input);
        };
        let input = recorder.batch(input);
        if !trains(Some(&self.gamma)) {
            return self.forward(input);
        }
        let [d_model] = self.gamma.shape().dims();
        assert_shape!(input, [.., d_model]);
        let dtype = input.dtype();
        // Burn takes the mean square in f32, whatever the input.
        let squares = input.clone().cast(DType::F32).square();
        let rms = (squares.mean_dim(D - 1) + self.epsilon).sqrt();
        let affine = Affine {
            recorder: &recorder,
            axis: D - 1,
        };
        affine.scale(input / rms.cast(dtype), &self.gamma)
    }
}

impl GroupNormRecorded for GroupNorm {
    fn forward_recorded<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
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

/// Scale and shift along one axis, expanded per sample where they train.
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

    fn expanded<const D: usize>(
        &self,
        parameter: &Param<Tensor<1>>,
        beside: &Tensor<D>,
    ) -> Tensor<D> {
        assert!(
            self.axis > 0,
            "axis 0 is the batch, it cannot be normalised"
        );
        let value = parameter.val().inner();
        let value = match value.dtype() == beside.dtype() {
            true => value,
            false => value.cast(beside.dtype()),
        };
        let [width] = value.dims();
        let mut shape = [1; D];
        shape[self.axis] = width;
        let value = value.reshape(shape);
        if !parameter.is_require_grad() {
            return value;
        }
        let batch = beside.dims()[0];
        shape[0] = batch;
        let tap = self.recorder.leaf(value.expand(shape), beside, parameter);
        let leaf = tap.value();
        self.recorder.record(parameter, batch, move |grads| {
            let error = tap.error(grads)?;
            Some(Rows::dense(error.reshape([batch, width])))
        });
        leaf
    }
}
