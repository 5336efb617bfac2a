//! The patches of the input that a kernel sees, and the kernel's gradient rows from them.

use burn::tensor::ops::PadMode;
use burn::tensor::{Slice, Tensor};

use crate::record::constant;
use crate::rows::{Outer, Rows};

/// Largest number of elements of the patches that are alive at once (64 MiB in f32).
const TEMPORARY: usize = 1 << 24;

/// How a kernel slides over an input `[M, C, H, W]`.
#[derive(Clone)]
pub(super) struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Padding before and after each axis.
    pub padding: [(usize, usize); 2],
    pub groups: usize,
}

impl Window {
    /// Rows of a kernel `[O, C / groups, kh, kw]` from its input `[M, C, H, W]` and its output
    /// error `[M, O, Ho, Wo]`.
    pub fn rows(&self, input: Tensor<4>, error: Tensor<4>) -> Rows {
        let [samples, channels, _, _] = input.dims();
        let [_, outputs, height, width] = error.dims();
        let positions = height * width;
        let area: usize = self.kernel.iter().product();
        let inputs = channels / self.groups * area;
        if self.groups == 1 && positions * (outputs + inputs) < outputs * inputs {
            return Rows::Outer(self.factors(input, error));
        }
        // Dense rows are smaller than the factors. The patches are only temporary: they are made for
        // a few samples at a time.
        let block = (TEMPORARY / (channels * area * positions).max(1)).clamp(1, samples.max(1));
        let rows = (0..samples)
            .step_by(block)
            .map(|start| {
                let count = block.min(samples - start);
                let patches = self.patches(input.clone().narrow(0, start, count), [height, width]);
                let patches = patches.reshape([count, self.groups, inputs, positions]);
                let error = error.clone().narrow(0, start, count).reshape([
                    count,
                    self.groups,
                    outputs / self.groups,
                    positions,
                ]);
                error
                    .matmul(patches.swap_dims(2, 3))
                    .reshape([count, outputs * inputs])
            })
            .collect();
        Rows::dense(Tensor::cat(rows, 0))
    }

    /// Factored rows of a kernel without groups: output errors `[M, Ho * Wo, O]` and patches
    /// `[M, Ho * Wo, C * kh * kw]`.
    pub fn factors(&self, input: Tensor<4>, error: Tensor<4>) -> Outer {
        let [samples, channels, _, _] = input.dims();
        let [_, outputs, height, width] = error.dims();
        let positions = height * width;
        let inputs = channels * self.kernel.iter().product::<usize>();
        let patches = self.patches(input, [height, width]);
        let patches = patches.reshape([samples, inputs, positions]);
        let error = error.reshape([samples, outputs, positions]);
        Outer::transposed(error.swap_dims(1, 2), patches.swap_dims(1, 2))
    }

    /// `[M, C, kh * kw, Ho, Wo]`, never below f32.
    ///
    /// This takes one strided slice per kernel entry. Burn's `unfold4d` is a convolution with a
    /// one-hot kernel and costs as much as a layer with C · kh · kw output channels.
    fn patches(&self, input: Tensor<4>, output: [usize; 2]) -> Tensor<5> {
        let input = constant(&input);
        let input = match self.padding {
            [(0, 0), (0, 0)] => input,
            padding => input.pad(padding, PadMode::Constant(0.0)),
        };
        let along = |axis: usize, entry: usize| {
            let start = entry * self.dilation[axis];
            let end = start + (output[axis] - 1) * self.stride[axis] + 1;
            Slice::new(
                start as isize,
                Some(end as isize),
                self.stride[axis] as isize,
            )
        };
        let slices = (0..self.kernel[0])
            .flat_map(|row| (0..self.kernel[1]).map(move |column| (row, column)));
        let slices = slices
            .map(|(row, column)| {
                input.clone().slice([
                    Slice::full(),
                    Slice::full(),
                    along(0, row),
                    along(1, column),
                ])
            })
            .collect();
        Tensor::stack(slices, 2)
    }
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
        let window = Window {
            kernel: [3, 2],
            stride: [2, 1],
            dilation: [1, 3],
            padding: [(1, 1), (2, 2)],
            groups: 1,
        };
        let options = UnfoldOptions::new([2, 1], [1, 2], [1, 3]);
        let expected = unfold4d(x.clone(), [3, 2], options);
        // Ho = (7 + 2 - 3) / 2 + 1, Wo = 8 + 4 - (3 + 1) + 1.
        let patches = window.patches(x, [4, 9]).reshape([2, 18, 36]);
        assert_eq!(expected.dims(), [2, 18, 36]);
        let difference: f32 = (patches - expected).abs().max().into_scalar();
        assert_eq!(difference, 0.0);
    }

    #[test]
    fn dense_and_factored_rows_agree() {
        let device = Device::flex();
        let random =
            |dims: [usize; 4]| Tensor::<4>::random(dims, Distribution::Normal(0.0, 1.0), &device);
        let window = Window {
            kernel: [2, 2],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [(0, 0), (0, 0)],
            groups: 1,
        };
        // One position: the factors are smaller.
        let (input, error) = (random([4, 3, 2, 2]), random([4, 5, 1, 1]));
        let rows = window.rows(input.clone(), error.clone());
        assert!(matches!(rows, Rows::Outer(_)));
        let patches = input.reshape([4, 1, 12]);
        let expected = error.reshape([4, 5, 1]).matmul(patches).reshape([4, 60]);
        let difference: f32 = (rows.to_dense() - expected).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference}");

        let rows = window.rows(random([4, 3, 9, 9]), random([4, 5, 8, 8]));
        assert!(matches!(rows, Rows::Dense(_)));
    }
}
