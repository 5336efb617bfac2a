//! Activations with parameters.

use burn::nn::activation::{Activation, PRelu, SwiGlu};
use burn::tensor::Tensor;
use burn::tensor::activation::silu;

use super::ForwardRecorded;
use super::expand_param::broadcast;
use crate::record::{expand_input, is_empty_batch, recorder};

/// Records one gradient row per sample for the slopes.
///
/// # Shapes
///
/// - input and output: `[M, channels, …]`, or any shape if there is one slope for all channels
///
/// # Panics
///
/// Panics if there are several slopes and axis 1 of `input` has another size.
///
/// ```
/// use burn::nn::PReluConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let prelu = PReluConfig::new().with_num_parameters(6).init(&device);
/// let x = Tensor::<4>::ones([4, 6, 5, 5], &device);
/// assert_eq!(prelu.forward_recorded(x).dims(), [4, 6, 5, 5]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for PRelu {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        if is_empty_batch(input.dims()[0]) {
            return input;
        }
        let Some(recorder) = recorder() else {
            return self.forward(input);
        };
        let input = recorder.batch(input);
        if !self.alpha.is_require_grad() {
            return self.forward(input);
        }
        let slopes = self.alpha.shape()[0];
        let mut shape = [1; D];
        if slopes != 1 {
            let channels = input.dims().get(1).copied();
            assert_eq!(
                channels,
                Some(slopes),
                "PRelu has one slope for each channel of axis 1"
            );
            shape[1] = slopes;
        }
        let slope = broadcast(&recorder, &self.alpha, &input, shape);
        let negative = input.clone().lower_elem(0.0);
        input.clone().mask_where(negative, input * slope)
    }
}

/// Records its two linear layers.
///
/// # Shapes
///
/// - input: `[M, …, d_input]`
/// - output: `[M, …, d_output]`
///
/// ```
/// use burn::nn::SwiGluConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let swiglu = SwiGluConfig::new(8, 12).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(swiglu.forward_recorded(x).dims(), [4, 7, 12]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for SwiGlu {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        let gate = silu(self.linear_inner.forward_recorded(input.clone()));
        gate * self.linear_outer.forward_recorded(input)
    }
}

/// Records the layer that it holds.
///
/// # Shapes
///
/// - input and output: as for that layer
///
/// ```
/// use burn::nn::activation::{Activation, ActivationConfig};
/// use burn::nn::PReluConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let activation: Activation = ActivationConfig::from(PReluConfig::new()).init(&device);
/// let x = Tensor::<2>::ones([4, 6], &device);
/// assert_eq!(activation.forward_recorded(x).dims(), [4, 6]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for Activation {
    type Output = Tensor<D>;

    fn forward_recorded(&self, input: Tensor<D>) -> Tensor<D> {
        match self {
            Self::PRelu(layer) => layer.forward_recorded(input),
            Self::SwiGlu(layer) => layer.forward_recorded(input),
            // Without parameters. If a later Burn adds an activation that trains, the step reports an
            // unrecorded use.
            _ => self.forward(expand_input(input)),
        }
    }
}
