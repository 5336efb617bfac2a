//! Convolutions in one, two and three dimensions.

use std::ops::Range;

use burn::module::Param;
use burn::nn::conv::{Conv1d, Conv2d, Conv3d};
use burn::nn::{PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};
use burn::tensor::Tensor;
use burn::tensor::module::{conv1d, conv2d, conv3d};
use burn::tensor::ops::ConvOptions;

use super::products::{Products, Shape};
use super::window::{Window, same_paddings};
use super::{Call, empty_output, flat};
use crate::nn::ForwardRecorded;
use crate::record::{is_empty_batch, recorder};
use crate::rows::Side;

/// A convolution over `N` axes, in the terms that Burn's layers share.
struct Convolution<'a, const D: usize, const N: usize> {
    weight: &'a Param<Tensor<D>>,
    bias: Option<&'a Param<Tensor<1>>>,
    options: ConvOptions<N>,
}

impl<const D: usize, const N: usize> Convolution<'_, D, N> {
    /// Record the layer, which computes `plain` and whose kernel computes `product`.
    fn forward(
        self,
        input: Tensor<D>,
        plain: impl FnOnce(Tensor<D>) -> Tensor<D>,
        product: impl FnOnce(Tensor<D>, Tensor<D>, ConvOptions<N>) -> Tensor<D>,
    ) -> Tensor<D> {
        let Some(recorder) = recorder() else {
            return plain(input);
        };
        let input = recorder.batch(input);
        let kernel = self.weight.shape();
        let ConvOptions {
            stride,
            padding,
            dilation,
            ..
        } = &self.options;
        let window = Window::new(&kernel[2..], stride, dilation, padding);
        let shape = Shape {
            groups: self.options.groups,
            width: input.dims()[1] * window.area(),
            inputs: Side::Right,
        };
        let call = Call {
            recorder: &recorder,
            weight: self.weight,
            bias: self.bias,
            shape,
        };
        if !call.records() {
            return plain(input);
        }
        let y = product(input.clone(), self.weight.val().inner(), self.options);
        let positions = y.dims()[2..].to_vec();
        let input = input.inner();
        call.finish(y, move |error| Products {
            shape,
            plain: flat(error),
            patches: move |samples: Range<usize>| {
                let input = input.clone().narrow(0, samples.start, samples.len());
                window.patches(input, &positions)
            },
        })
    }
}

/// Records the kernel's gradient rows, and one row per sample for the bias.
///
/// The rows of the kernel are computed from the patches that it saw. They are kept as patches and
/// output errors where these are smaller (many channels, few positions), and as dense rows
/// otherwise.
///
/// # Shapes
///
/// - input: `[M, channels_in, length_in]`
/// - output: `[M, channels_out, length_out]`
///
/// ```
/// use burn::nn::conv::Conv1dConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let conv = Conv1dConfig::new(3, 5, 2).init(&device);
/// let x = Tensor::<3>::ones([4, 3, 9], &device);
/// assert_eq!(conv.forward_recorded(x).dims(), [4, 5, 8]);
/// ```
impl ForwardRecorded<Tensor<3>> for Conv1d {
    type Output = Tensor<3>;

    fn forward_recorded(&self, input: Tensor<3>) -> Tensor<3> {
        if is_empty_batch(input.dims()[0]) {
            return empty_output(&input, |x| self.forward(x));
        }
        let stride = [self.stride];
        let padding = match self.padding {
            PaddingConfig1d::Valid => [(0, 0)],
            PaddingConfig1d::Same => same_paddings([self.kernel_size], stride, &input),
            PaddingConfig1d::Explicit(left, right) => [(left, right)],
        };
        let options = ConvOptions::new_with_padding(stride, padding, [self.dilation], self.groups);
        let layer = Convolution {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            options,
        };
        layer.forward(
            input,
            |x| self.forward(x),
            |x, kernel, options| conv1d(x, kernel, None, options),
        )
    }
}

/// Records the kernel's gradient rows, and one row per sample for the bias.
///
/// The rows of the kernel are computed from the patches that it saw. They are kept as patches and
/// output errors where these are smaller (many channels, few positions), and as dense rows
/// otherwise.
///
/// # Shapes
///
/// - input: `[M, channels_in, height_in, width_in]`
/// - output: `[M, channels_out, height_out, width_out]`
///
/// ```
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let conv = Conv2dConfig::new([3, 8], [3, 3]).init(&device);
/// let x = Tensor::<4>::ones([4, 3, 12, 12], &device);
/// assert_eq!(conv.forward_recorded(x).dims(), [4, 8, 10, 10]);
/// ```
impl ForwardRecorded<Tensor<4>> for Conv2d {
    type Output = Tensor<4>;

    fn forward_recorded(&self, input: Tensor<4>) -> Tensor<4> {
        if is_empty_batch(input.dims()[0]) {
            return empty_output(&input, |x| self.forward(x));
        }
        let padding = match self.padding {
            PaddingConfig2d::Valid => [(0, 0); 2],
            PaddingConfig2d::Same => same_paddings(self.kernel_size, self.stride, &input),
            PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        };
        let options =
            ConvOptions::new_with_padding(self.stride, padding, self.dilation, self.groups);
        let layer = Convolution {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            options,
        };
        layer.forward(
            input,
            |x| self.forward(x),
            |x, kernel, options| conv2d(x, kernel, None, options),
        )
    }
}

/// Records the kernel's gradient rows, and one row per sample for the bias.
///
/// The rows of the kernel are computed from the patches that it saw. They are kept as patches and
/// output errors where these are smaller (many channels, few positions), and as dense rows
/// otherwise.
///
/// # Shapes
///
/// - input: `[M, channels_in, depth_in, height_in, width_in]`
/// - output: `[M, channels_out, depth_out, height_out, width_out]`
///
/// ```
/// use burn::nn::conv::Conv3dConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let conv = Conv3dConfig::new([2, 4], [3, 3, 3]).init(&device);
/// let x = Tensor::<5>::ones([4, 2, 5, 6, 7], &device);
/// assert_eq!(conv.forward_recorded(x).dims(), [4, 4, 3, 4, 5]);
/// ```
impl ForwardRecorded<Tensor<5>> for Conv3d {
    type Output = Tensor<5>;

    fn forward_recorded(&self, input: Tensor<5>) -> Tensor<5> {
        if is_empty_batch(input.dims()[0]) {
            return empty_output(&input, |x| self.forward(x));
        }
        let padding = match self.padding {
            PaddingConfig3d::Valid => [(0, 0); 3],
            // Burn refuses uneven padding of three axes, here as in its own `forward`.
            PaddingConfig3d::Same => same_paddings(self.kernel_size, self.stride, &input),
            PaddingConfig3d::Explicit(depth, height, width) => {
                [depth, height, width].map(|padding| (padding, padding))
            }
        };
        let options =
            ConvOptions::new_with_padding(self.stride, padding, self.dilation, self.groups);
        let layer = Convolution {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            options,
        };
        layer.forward(
            input,
            |x| self.forward(x),
            |x, kernel, options| conv3d(x, kernel, None, options),
        )
    }
}
