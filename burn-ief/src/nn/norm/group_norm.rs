//! Group norm and instance norm.

use burn::nn::{GroupNorm, InstanceNorm};
use burn::tensor::Tensor;

use super::{Affine, trains};
use crate::nn::ForwardRecorded;
use crate::record::{is_empty_batch, recorder};

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
/// use burn::nn::InstanceNormConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let norm = InstanceNormConfig::new(6).init(&device);
/// let x = Tensor::<4>::ones([4, 6, 5, 5], &device);
/// assert_eq!(norm.forward_recorded(x).dims(), [4, 6, 5, 5]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for InstanceNorm {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        // As in Burn, every channel is a group of its own.
        let groups = GroupNorm {
            gamma: self.gamma.clone(),
            beta: self.beta.clone(),
            num_groups: self.num_channels,
            num_channels: self.num_channels,
            epsilon: self.epsilon,
            affine: self.affine,
        };
        groups.forward_recorded(input)
    }
}
