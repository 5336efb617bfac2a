//! How a kernel slides over an image, and the patches that it sees.

use burn::tensor::ops::PadMode;
use burn::tensor::{Slice, Tensor};

use crate::record::constant;

/// How a kernel slides along one axis of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Padding before and after the axis.
    pub padding: (usize, usize),
}

/// How a kernel slides over an image: one entry for each axis after batch and channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    axes: Vec<Axis>,
}

impl Window {
    /// The same number of entries in every argument.
    pub fn new(
        kernel: &[usize],
        stride: &[usize],
        dilation: &[usize],
        padding: &[(usize, usize)],
    ) -> Self {
        let axes = (0..kernel.len()).map(|axis| Axis {
            kernel: kernel[axis],
            stride: stride[axis],
            dilation: dilation[axis],
            padding: padding[axis],
        });
        Self {
            axes: axes.collect(),
        }
    }

    /// Entries of the kernel for one pair of channels.
    pub fn area(&self) -> usize {
        self.axes.iter().map(|axis| axis.kernel).product()
    }

    /// The patches of images `[M, C, …]` at `positions` on each axis: `[M, C * area, T]` for T
    /// positions in total, never below f32.
    ///
    /// This takes one strided slice per kernel entry. Burn's `unfold4d` is a convolution with a
    /// one-hot kernel and costs as much as a layer with `C * area` output channels.
    pub fn patches<const D: usize>(&self, image: Tensor<D>, positions: &[usize]) -> Tensor<3> {
        let image = constant(&image);
        let (samples, channels) = (image.dims()[0], image.dims()[1]);
        let total: usize = positions.iter().product();
        let shape = [samples, channels * self.area(), total];
        if shape.contains(&0) {
            return Tensor::zeros(shape, (&image.device(), image.dtype()));
        }
        let padding: Vec<(usize, usize)> = self.axes.iter().map(|axis| axis.padding).collect();
        let image = if padding.iter().all(|&padding| padding == (0, 0)) {
            image
        } else {
            image.pad(padding, PadMode::Constant(0.0))
        };
        let slices = (0..self.area()).map(|entry| {
            let slices = self.slices::<D>(entry, positions);
            let slice = image.clone().slice(slices);
            slice.reshape([samples, channels, 1, total])
        });
        Tensor::cat(slices.collect(), 2).reshape(shape)
    }

    /// Where a padded image has what one entry of the kernel sees. Entries are counted row-major.
    fn slices<const D: usize>(&self, entry: usize, positions: &[usize]) -> [Slice; D] {
        let mut slices = [Slice::full(); D];
        let mut rest = entry;
        for ((axis, slice), count) in self.axes.iter().zip(&mut slices[2..]).zip(positions).rev() {
            let start = rest % axis.kernel * axis.dilation;
            rest /= axis.kernel;
            let end = start + (count - 1) * axis.stride + 1;
            *slice = Slice::new(start as isize, Some(end as isize), axis.stride as isize);
        }
        slices
    }
}

/// Padding before and after an axis under Burn's `Same`: an odd total puts the extra entry after
/// the axis.
pub(super) fn same_padding(kernel: usize, stride: usize, size: usize) -> (usize, usize) {
    let positions = size.div_ceil(stride);
    let total = if positions == 0 {
        0
    } else {
        ((positions - 1) * stride + kernel).saturating_sub(size)
    };
    (total / 2, total - total / 2)
}

/// [`same_padding`] of every axis of an image `[M, C, …]`.
pub(super) fn same_paddings<const D: usize, const N: usize>(
    kernel: [usize; N],
    stride: [usize; N],
    image: &Tensor<D>,
) -> [(usize, usize); N] {
    let dims = image.dims();
    std::array::from_fn(|axis| same_padding(kernel[axis], stride[axis], dims[2 + axis]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::module::unfold4d;
    use burn::tensor::ops::UnfoldOptions;
    use burn::tensor::{Device, Distribution};

    #[test]
    fn patches_are_burns_unfold() {
        let device = Device::flex();
        let x = Tensor::<4>::random([2, 3, 7, 8], Distribution::Default, &device);
        let window = Window::new(&[3, 2], &[2, 1], &[1, 3], &[(1, 1), (2, 2)]);
        let options = UnfoldOptions::new([2, 1], [1, 2], [1, 3]);
        let expected = unfold4d(x.clone(), [3, 2], options);
        // Ho = (7 + 2 - 3) / 2 + 1, Wo = 8 + 4 - (3 + 1) + 1.
        let patches = window.patches(x, &[4, 9]);
        assert_eq!(expected.dims(), [2, 18, 36]);
        let difference: f32 = (patches - expected).abs().max().into_scalar();
        assert_eq!(difference, 0.0);
    }

    #[test]
    fn patches_of_three_axes_are_in_row_major_order() {
        let device = Device::flex();
        let x =
            Tensor::<1>::from_floats([0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.], &device);
        // One channel of 2 × 2 × 3, a kernel of 2 × 1 × 2, one more cell after the last axis.
        let x = x.reshape([1, 1, 2, 2, 3]);
        let window = Window::new(&[2, 1, 2], &[1, 1, 2], &[1; 3], &[(0, 0), (0, 0), (0, 1)]);
        let patches = window.patches(x, &[1, 2, 2]);
        let expected = Tensor::<3>::from_floats(
            [[
                [0., 2., 3., 5.],
                [1., 0., 4., 0.],
                [6., 8., 9., 11.],
                [7., 0., 10., 0.],
            ]],
            &device,
        );
        patches.into_data().assert_eq(&expected.into_data(), true);
    }

    #[test]
    fn same_padding_puts_the_extra_entry_last() {
        // size, kernel, stride: out = ceil(size / stride), total = (out - 1) stride + kernel - size.
        assert_eq!(same_padding(3, 1, 10), (1, 1));
        assert_eq!(same_padding(2, 1, 5), (0, 1));
        assert_eq!(same_padding(4, 3, 7), (1, 2));
        assert_eq!(same_padding(1, 3, 7), (0, 0));
    }
}
