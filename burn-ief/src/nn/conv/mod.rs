//! Convolutions in one and two dimensions.

mod patches;

use burn::module::Param;
use burn::nn::conv::{Conv1d, Conv2d};
use burn::nn::{PaddingConfig1d, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::module::{conv1d, conv2d};
use burn::tensor::ops::ConvOptions;

use super::ForwardRecorded;
use crate::record::{Recorder, is_composed, is_empty_batch, recorder, without_samples};
use crate::rows::Rows;
use patches::Window;

/// The output of an empty batch: its shape is that of one sample's output.
fn empty_output<const D: usize>(
    input: &Tensor<D>,
    forward: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    let mut dims = input.dims();
    dims[0] = 1;
    let mut dims = forward(without_samples(dims, input)).dims();
    dims[0] = 0;
    without_samples(dims, input)
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
        let Some(recorder) = recorder() else {
            return self.forward(input);
        };
        let input = recorder.batch(input);
        let layer = Layer {
            recorder: &recorder,
            weight: &self.weight,
            bias: self.bias.as_ref(),
        };
        if !layer.trains() || is_composed(&self.weight) {
            return self.forward(input);
        }
        let [_, _, length] = input.dims();
        let padding = match self.padding {
            PaddingConfig1d::Valid => (0, 0),
            PaddingConfig1d::Same => same_padding(self.kernel_size, self.stride, length),
            PaddingConfig1d::Explicit(left, right) => (left, right),
        };
        let (stride, dilation) = (self.stride, self.dilation);
        let options = ConvOptions::new_with_padding([stride], [padding], [dilation], self.groups);
        let y = conv1d(input.clone(), self.weight.val().inner(), None, options);
        let window = Window {
            kernel: [1, self.kernel_size],
            stride: [1, stride],
            dilation: [1, dilation],
            padding: [(0, 0), padding],
            groups: self.groups,
        };
        let flat = |x: Tensor<3>| x.unsqueeze_dim::<4>(2);
        layer.finish(y, input.inner(), window, flat)
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
        let Some(recorder) = recorder() else {
            return self.forward(input);
        };
        let input = recorder.batch(input);
        let layer = Layer {
            recorder: &recorder,
            weight: &self.weight,
            bias: self.bias.as_ref(),
        };
        if !layer.trains() || is_composed(&self.weight) {
            return self.forward(input);
        }
        let [_, _, height, width] = input.dims();
        let padding = match self.padding {
            PaddingConfig2d::Valid => [(0, 0), (0, 0)],
            PaddingConfig2d::Same => [
                same_padding(self.kernel_size[0], self.stride[0], height),
                same_padding(self.kernel_size[1], self.stride[1], width),
            ],
            PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        };
        let window = Window {
            kernel: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            padding,
            groups: self.groups,
        };
        let options =
            ConvOptions::new_with_padding(self.stride, padding, self.dilation, self.groups);
        let y = conv2d(input.clone(), self.weight.val().inner(), None, options);
        layer.finish(y, input.inner(), window, |x| x)
    }
}

/// Padding before and after an axis under Burn's `Same`: an odd total puts the extra entry after
/// the axis.
fn same_padding(kernel: usize, stride: usize, size: usize) -> (usize, usize) {
    let positions = size.div_ceil(stride);
    let total = if positions == 0 {
        0
    } else {
        ((positions - 1) * stride + kernel).saturating_sub(size)
    };
    (total / 2, total - total / 2)
}

/// One use of a convolution of rank `D`.
struct Layer<'a, const D: usize> {
    recorder: &'a Recorder,
    weight: &'a Param<Tensor<D>>,
    bias: Option<&'a Param<Tensor<1>>>,
}

impl<const D: usize> Layer<'_, D> {
    fn trains(&self) -> bool {
        self.weight.is_require_grad() || self.trained_bias().is_some()
    }

    fn trained_bias(&self) -> Option<&Param<Tensor<1>>> {
        self.bias.filter(|bias| bias.is_require_grad())
    }

    /// Add the bias to the convolution `y` and record both parameters. `image` reshapes inputs and
    /// output errors to two-dimensional images.
    fn finish(
        &self,
        y: Tensor<D>,
        input: Tensor<D>,
        window: Window,
        image: impl Fn(Tensor<D>) -> Tensor<4> + 'static,
    ) -> Tensor<D> {
        let dims = y.dims();
        let (batch, channels) = (dims[0], dims[1]);
        let bias = self.bias.map(|bias| {
            let mut shape = [1; D];
            shape[1] = channels;
            bias.val().inner().reshape(shape)
        });
        if !self.weight.is_require_grad() {
            // One leaf entry per sample and channel: autodiff sums over the positions.
            let (Some(bias), Some(parameter)) = (bias, self.trained_bias()) else {
                unreachable!("the kernel or the bias trains");
            };
            let mut shape = [1; D];
            shape[..2].copy_from_slice(&[batch, channels]);
            let tap = self.recorder.leaf(bias.expand(shape), &y, parameter);
            let y = y + tap.value();
            self.recorder.record(parameter, batch, move |grads| {
                Some(Rows::dense(tap.error(grads)?.reshape([batch, channels])))
            });
            return y;
        }
        let (y, tap) = match bias {
            Some(bias) => {
                let tap = self.recorder.leaf(bias.expand(dims), &y, self.weight);
                (y + tap.value(), tap)
            }
            None => self.recorder.tap(y, self.weight),
        };
        if self.recorder.keeps_factors() && window.groups == 1 {
            let bias = self.trained_bias().map(|bias| bias.id);
            self.recorder
                .push(self.weight.id, bias, batch, move |grads| {
                    let rows = window.factors(image(input), image(tap.error(grads)?));
                    Some(Rows::Outer(if bias.is_some() {
                        rows.with_bias()
                    } else {
                        rows
                    }))
                });
            return y;
        }
        if let Some(bias) = self.trained_bias() {
            let tap = tap.clone();
            let positions = dims[2..].iter().product();
            self.recorder.record(bias, batch, move |grads| {
                let error = tap.error(grads)?.reshape([batch, channels, positions]);
                Some(Rows::dense(error.sum_dim(2).squeeze_dim(2)))
            });
        }
        self.recorder.record(self.weight, batch, move |grads| {
            Some(window.rows(image(input), image(tap.error(grads)?)))
        });
        y
    }
}

#[cfg(test)]
mod tests {
    use super::same_padding;

    #[test]
    fn same_padding_puts_the_extra_entry_last() {
        // size, kernel, stride: out = ceil(size / stride), total = (out - 1) stride + kernel - size.
        assert_eq!(same_padding(3, 1, 10), (1, 1));
        assert_eq!(same_padding(2, 1, 5), (0, 1));
        assert_eq!(same_padding(4, 3, 7), (1, 2));
        assert_eq!(same_padding(1, 3, 7), (0, 0));
    }
}
