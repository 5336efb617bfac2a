//! The gradient rows of a kernel: sums of products of two factors over positions.

use std::ops::Range;

use burn::tensor::Tensor;
use burn_flex_fused::is_fused;

use crate::rows::{Outer, Rows, Side};

/// Largest number of elements of the patches that are alive at once (64 MiB in f32).
const TEMPORARY: usize = 1 << 24;
/// The same on Flex, where a block costs no launches, and patches that stay in the cache are read faster (4 MiB in
/// f32).
const CACHED: usize = 1 << 20;

/// The rows of a kernel `[A, B / groups]`: for sample n and every group, `Σ_t plain[n, a, t] patches[n, b, t]`
/// with a and b in that group.
///
/// A convolution has its output error as the plain factor and patches of its input. A transposed convolution
/// has its input as the plain factor and patches of its output error.
pub(super) struct Products<F> {
    pub shape: Shape,
    /// `[M, A, T]`.
    pub plain: Tensor<3>,
    /// The patches of some samples, `[m, B, T]`.
    pub patches: F,
}

/// What is known of the products before the backward pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub groups: usize,
    /// B, the patch entries of all groups.
    pub width: usize,
    /// Which factor holds the inputs. The plain factor is on the left.
    pub inputs: Side,
}

impl<F: Fn(Range<usize>) -> Tensor<3>> Products<F> {
    /// The rows in their smaller form: factored, or dense.
    pub fn rows(self) -> Rows {
        let [samples, height, positions] = self.plain.dims();
        let Shape { groups, width, .. } = self.shape;
        if groups == 1 && positions * (height + width) < height * width {
            return Rows::Outer(self.factors());
        }
        // Dense rows are smaller than the factors. The patches are only temporary: they are made for
        // a few samples at a time.
        let most = if is_fused(&self.plain) {
            CACHED
        } else {
            TEMPORARY
        };
        let block = most / (width * positions).max(1);
        Rows::dense(self.dense(block.clamp(1, samples.max(1))))
    }

    /// Dense rows, from the patches of `block` samples at a time.
    fn dense(&self, block: usize) -> Tensor<2> {
        let [samples, height, positions] = self.plain.dims();
        let Shape { groups, width, .. } = self.shape;
        let rows = (0..samples).step_by(block).map(|start| {
            let count = block.min(samples - start);
            let patches = (self.patches)(start..start + count);
            let patches = patches.reshape([count, groups, width / groups, positions]);
            let plain = self.plain.clone().narrow(0, start, count);
            let plain = plain.reshape([count, groups, height / groups, positions]);
            plain
                .matmul(patches.swap_dims(2, 3))
                .reshape([count, height * (width / groups)])
        });
        Tensor::cat(rows.collect(), 0)
    }

    /// Factored rows of a kernel without groups.
    pub fn factors(self) -> Outer {
        let [samples, _, _] = self.plain.dims();
        let patches = (self.patches)(0..samples).swap_dims(1, 2);
        let plain = self.plain.swap_dims(1, 2);
        match self.shape.inputs {
            Side::Left => Outer::new(plain, patches),
            Side::Right => Outer::transposed(plain, patches),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    fn random<const D: usize>(dims: [usize; D]) -> Tensor<D> {
        Tensor::random(dims, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    fn products(
        plain: Tensor<3>,
        patches: &Tensor<3>,
    ) -> Products<impl Fn(Range<usize>) -> Tensor<3> + use<>> {
        let patches = patches.clone();
        Products {
            shape: Shape {
                groups: 1,
                width: patches.dims()[1],
                inputs: Side::Right,
            },
            plain,
            patches: move |samples: Range<usize>| {
                patches.clone().narrow(0, samples.start, samples.len())
            },
        }
    }

    #[test]
    fn the_smaller_form_is_kept() {
        // One position: the factors are smaller.
        let (plain, patches) = (random([4, 5, 1]), random([4, 12, 1]));
        let rows = products(plain.clone(), &patches).rows();
        assert!(matches!(rows, Rows::Outer(_)));
        let expected = plain.matmul(patches.swap_dims(1, 2)).reshape([4, 60]);
        let difference: f32 = (rows.to_dense() - expected).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference}");

        let (plain, patches) = (random([4, 5, 64]), random([4, 12, 64]));
        let rows = products(plain.clone(), &patches).rows();
        assert!(matches!(rows, Rows::Dense(_)));
        let factored = products(plain, &patches).factors();
        let difference = rows.to_dense() - Rows::Outer(factored).to_dense();
        let difference: f32 = difference.abs().max().into_scalar();
        assert!(difference < 1e-4, "{difference}");
    }

    #[test]
    fn samples_are_cut_into_blocks() {
        let (plain, patches) = (random([5, 4, 3]), random([5, 6, 3]));
        let mut products = products(plain, &patches);
        products.shape.groups = 2;
        let whole = products.dense(5);
        assert_eq!(whole.dims(), [5, 4 * 3]);
        for block in [1, 2, 3] {
            let difference = (products.dense(block) - whole.clone()).abs().max();
            assert_eq!(difference.into_scalar::<f32>(), 0.0);
        }
    }
}
