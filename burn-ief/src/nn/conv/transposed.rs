//! Transposed convolutions in one, two and three dimensions.

use std::ops::Range;

use burn::module::Param;
use burn::nn::conv::{ConvTranspose1d, ConvTranspose2d, ConvTranspose3d};
use burn::tensor::Tensor;
use burn::tensor::module::{conv_transpose1d, conv_transpose2d, conv_transpose3d};
use burn::tensor::ops::ConvTransposeOptions;

use super::products::{Products, Shape};
use super::window::Window;
use super::{Call, empty_output, flat};
use crate::nn::ForwardRecorded;
use crate::record::{constant, is_empty_batch, recorder};
use crate::rows::Side;

/// A transposed convolution over `N` axes, in the terms that Burn's layers share.
///
/// At every position of the input, the kernel `[channels_in, channels_out / groups, …]` adds a patch to
/// the output. So the rows of the kernel are products of the input and of the patches of the output error.
/// Cells of the output that no patch reaches (`padding_out`) have a part in the bias alone.
struct Transposed<'a, const D: usize, const N: usize> {
    weight: &'a Param<Tensor<D>>,
    bias: Option<&'a Param<Tensor<1>>>,
    options: ConvTransposeOptions<N>,
}

impl<const D: usize, const N: usize> Transposed<'_, D, N> {
    /// Record the layer, which computes `plain` and whose kernel computes `product`.
    fn forward(
        self,
        input: Tensor<D>,
        plain: impl FnOnce(Tensor<D>) -> Tensor<D>,
        product: impl FnOnce(Tensor<D>, Tensor<D>, ConvTransposeOptions<N>) -> Tensor<D>,
    ) -> Tensor<D> {
        let Some(recorder) = recorder() else {
            return plain(input);
        };
        let input = recorder.batch(input);
        let kernel = self.weight.shape();
        let ConvTransposeOptions {
            stride,
            padding,
            dilation,
            ..
        } = &self.options;
        // What the layer cuts off on both sides of its output is zero in the error.
        let padding = padding.map(|padding| (padding, padding));
        let window = Window::new(&kernel[2..], stride, dilation, &padding);
        let groups = self.options.groups;
        let shape = Shape {
            groups,
            width: kernel[1] * groups * window.area(),
            inputs: Side::Left,
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
        let positions = input.dims()[2..].to_vec();
        let input = flat(input.inner());
        call.finish(y, move |error| Products {
            shape,
            plain: constant(&input),
            patches: move |samples: Range<usize>| {
                let error = error.clone().narrow(0, samples.start, samples.len());
                window.patches(error, &positions)
            },
        })
    }
}

/// Records the kernel's gradient rows, and one row per sample for the bias.
///
/// The rows of the kernel are computed from the input and the patches of the output error. They are kept
/// as these two factors where they are smaller, and as dense rows otherwise.
///
/// # Shapes
///
/// - input: `[M, channels_in, length_in]`
/// - output: `[M, channels_out, length_out]`
///
/// ```
/// use burn::nn::conv::ConvTranspose1dConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let conv = ConvTranspose1dConfig::new([3, 5], 4).with_stride(2).init(&device);
/// let x = Tensor::<3>::ones([4, 3, 9], &device);
/// assert_eq!(conv.forward_recorded(x).dims(), [4, 5, 20]);
/// ```
impl ForwardRecorded<Tensor<3>> for ConvTranspose1d {
    type Output = Tensor<3>;

    fn forward_recorded(&self, input: Tensor<3>) -> Tensor<3> {
        if is_empty_batch(input.dims()[0]) {
            return empty_output(&input, |x| self.forward(x));
        }
        let layer = Transposed {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            options: ConvTransposeOptions::new(
                [self.stride],
                [self.padding],
                [self.padding_out],
                [self.dilation],
                self.groups,
            ),
        };
        layer.forward(
            input,
            |x| self.forward(x),
            |x, kernel, options| conv_transpose1d(x, kernel, None, options),
        )
    }
}

/// Records the kernel's gradient rows, and one row per sample for the bias.
///
/// The rows of the kernel are computed from the input and the patches of the output error. They are kept
/// as these two factors where they are smaller, and as dense rows otherwise.
///
/// # Shapes
///
/// - input: `[M, channels_in, height_in, width_in]`
/// - output: `[M, channels_out, height_out, width_out]`
///
/// ```
/// use burn::nn::conv::ConvTranspose2dConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let conv = ConvTranspose2dConfig::new([3, 5], [2, 2]).with_stride([2, 2]).init(&device);
/// let x = Tensor::<4>::ones([4, 3, 6, 7], &device);
/// assert_eq!(conv.forward_recorded(x).dims(), [4, 5, 12, 14]);
/// ```
impl ForwardRecorded<Tensor<4>> for ConvTranspose2d {
    type Output = Tensor<4>;

    fn forward_recorded(&self, input: Tensor<4>) -> Tensor<4> {
        if is_empty_batch(input.dims()[0]) {
            return empty_output(&input, |x| self.forward(x));
        }
        let layer = Transposed {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            options: ConvTransposeOptions::new(
                self.stride,
                self.padding,
                self.padding_out,
                self.dilation,
                self.groups,
            ),
        };
        layer.forward(
            input,
            |x| self.forward(x),
            |x, kernel, options| conv_transpose2d(x, kernel, None, options),
        )
    }
}

/// Records the kernel's gradient rows, and one row per sample for the bias.
///
/// The rows of the kernel are computed from the input and the patches of the output error. They are kept
/// as these two factors where they are smaller, and as dense rows otherwise.
///
/// # Shapes
///
/// - input: `[M, channels_in, depth_in, height_in, width_in]`
/// - output: `[M, channels_out, depth_out, height_out, width_out]`
///
/// ```
/// use burn::nn::conv::ConvTranspose3dConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let conv = ConvTranspose3dConfig::new([2, 3], [2, 2, 2]).init(&device);
/// let x = Tensor::<5>::ones([4, 2, 3, 4, 5], &device);
/// assert_eq!(conv.forward_recorded(x).dims(), [4, 3, 4, 5, 6]);
/// ```
impl ForwardRecorded<Tensor<5>> for ConvTranspose3d {
    type Output = Tensor<5>;

    fn forward_recorded(&self, input: Tensor<5>) -> Tensor<5> {
        if is_empty_batch(input.dims()[0]) {
            return empty_output(&input, |x| self.forward(x));
        }
        let layer = Transposed {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            options: ConvTransposeOptions::new(
                self.stride,
                self.padding,
                self.padding_out,
                self.dilation,
                self.groups,
            ),
        };
        layer.forward(
            input,
            |x| self.forward(x),
            |x, kernel, options| conv_transpose3d(x, kernel, None, options),
        )
    }
}
