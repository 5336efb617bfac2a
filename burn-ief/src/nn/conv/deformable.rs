//! Deformable convolutions: the kernel sees the input at positions that are computed as well.

use std::ops::Range;

use burn::nn::PaddingConfig2d;
use burn::nn::conv::DeformConv2d;
use burn::tensor::module::deform_conv2d;
use burn::tensor::ops::DeformConvOptions;
use burn::tensor::{DType, Device, Tensor};

use super::products::{Products, Shape};
use super::window::same_paddings;
use super::{Call, empty_output, flat, one_sample};
use crate::nn::ForwardRecorded;
use crate::record::{constant, is_empty_batch, recorder};
use crate::rows::Side;

/// Input of the recorded [`DeformConv2d`]: what its `forward` takes as three arguments.
///
/// ```
/// use burn::nn::conv::DeformConv2dConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::{DeformConvInput, ForwardRecorded};
///
/// let device = Device::flex().autodiff();
/// let conv = DeformConv2dConfig::new([3, 8], [3, 3]).init(&device);
/// let x = Tensor::<4>::ones([4, 3, 12, 12], &device);
/// // Two offsets and one mask entry for each of 9 kernel entries at 10 × 10 positions.
/// let input = DeformConvInput::new(x, Tensor::zeros([4, 18, 10, 10], &device))
///     .mask(Tensor::ones([4, 9, 10, 10], &device));
/// assert_eq!(conv.forward_recorded(input).dims(), [4, 8, 10, 10]);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeformConvInput {
    /// `[M, channels_in, height_in, width_in]`.
    pub input: Tensor<4>,
    /// `[M, 2 * offset_groups * kernel_height * kernel_width, height_out, width_out]`.
    pub offset: Tensor<4>,
    /// `[M, offset_groups * kernel_height * kernel_width, height_out, width_out]`.
    pub mask: Option<Tensor<4>>,
}

impl DeformConvInput {
    /// An input and its offsets, without a mask.
    pub fn new(input: Tensor<4>, offset: Tensor<4>) -> Self {
        Self {
            input,
            offset,
            mask: None,
        }
    }

    /// Set the mask that the sampled values are multiplied with.
    pub fn mask(mut self, mask: Tensor<4>) -> Self {
        self.mask = Some(mask);
        self
    }
}

/// Records the kernel's gradient rows, and one row per sample for the bias.
///
/// The rows of the kernel are computed from the values that it saw, as for
/// [`Conv2d`](burn::nn::conv::Conv2d). Gradients flow on to the input, the offsets and the mask; Burn computes
/// these in f32 on Flex, also if the tensors are f64.
///
/// # Shapes
///
/// - input: see [`DeformConvInput`]
/// - output: `[M, channels_out, height_out, width_out]`
///
/// # Panics
///
/// Panics like Burn's `forward` if the padding is not the same on both sides of an axis.
impl ForwardRecorded<DeformConvInput> for DeformConv2d {
    type Output = Tensor<4>;

    fn forward_recorded(&self, input: DeformConvInput) -> Tensor<4> {
        let plain = |x: DeformConvInput| self.forward(x.input, x.offset, x.mask);
        if is_empty_batch(input.input.dims()[0]) {
            return empty_output(&input.input, |x| {
                let mask = input.mask.as_ref().map(one_sample);
                self.forward(x, one_sample(&input.offset), mask)
            });
        }
        let Some(recorder) = recorder() else {
            return plain(input);
        };
        let input = DeformConvInput {
            input: recorder.batch(input.input),
            offset: recorder.batch(input.offset),
            mask: input.mask.map(|mask| recorder.batch(mask)),
        };
        let [height, width] = self.kernel_size;
        let shape = Shape {
            groups: self.weight_groups,
            width: input.input.dims()[1] * height * width,
            inputs: Side::Right,
        };
        let call = Call {
            recorder: &recorder,
            weight: &self.weight,
            bias: self.bias.as_ref(),
            shape,
        };
        if !call.records() {
            return plain(input);
        }
        let options = DeformConvOptions::new(
            self.stride,
            even_padding(self, &input.input),
            self.dilation,
            self.weight_groups,
            self.offset_groups,
        );
        let DeformConvInput {
            input,
            offset,
            mask,
        } = input;
        let y = deform_conv2d(
            input.clone(),
            offset.clone(),
            self.weight.val().inner(),
            mask.clone(),
            None,
            options.clone(),
        );
        let sampled = Sampled {
            input: input.inner(),
            offset: offset.inner(),
            mask: mask.map(Tensor::inner),
            kernel: self.kernel_size,
            options,
        };
        call.finish(y, move |error| Products {
            shape,
            plain: flat(error),
            patches: move |samples: Range<usize>| sampled.patches(samples.start, samples.len()),
        })
    }
}

/// The padding of a deformable convolution, which Burn has for both sides of an axis together.
fn even_padding(layer: &DeformConv2d, input: &Tensor<4>) -> [usize; 2] {
    let padding = match layer.padding {
        PaddingConfig2d::Valid => [(0, 0); 2],
        PaddingConfig2d::Same => same_paddings(layer.kernel_size, layer.stride, input),
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
    };
    padding.map(|(before, after)| {
        assert_eq!(
            before, after,
            "a deformable convolution takes the same padding on both sides of an axis"
        );
        before
    })
}

/// What a kernel sees of an input, at positions that offsets move.
struct Sampled {
    input: Tensor<4>,
    offset: Tensor<4>,
    mask: Option<Tensor<4>>,
    kernel: [usize; 2],
    options: DeformConvOptions<2>,
}

impl Sampled {
    /// `[count, channels_in * kernel, T]`: the output of a deformable convolution whose kernel copies
    /// each entry to a channel of its own, without mixing channels.
    fn patches(&self, start: usize, count: usize) -> Tensor<3> {
        let cut = |x: &Tensor<4>| constant(&x.clone().narrow(0, start, count));
        let input = cut(&self.input);
        let channels = input.dims()[1];
        let options = DeformConvOptions {
            weight_groups: channels,
            ..self.options.clone()
        };
        let copies = self.copying_kernel(channels, &input.device(), input.dtype());
        let mask = self.mask.as_ref().map(cut);
        flat(deform_conv2d(
            input,
            cut(&self.offset),
            copies,
            mask,
            None,
            options,
        ))
    }

    /// `[channels * kernel, 1, height, width]`.
    fn copying_kernel(&self, channels: usize, device: &Device, dtype: DType) -> Tensor<4> {
        let [height, width] = self.kernel;
        let area = height * width;
        Tensor::<2>::eye(area, device)
            .cast(dtype)
            .reshape([area, 1, height, width])
            .repeat_dim(0, channels)
    }
}
