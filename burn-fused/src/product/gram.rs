//! Gram matrices of outer products: the lower triangle of a symmetric product.
//!
//! Burn has no matrix product that stops at the diagonal. Cutting the triangle into blocks gives
//! shapes that the CPU multiplies slowly. [faer](https://docs.rs/faer) has a triangular product.

use std::ops::Range;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Element, Tensor, TensorData};
use bytemuck::Pod;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::traits::RealField;
use faer::traits::math_utils::{one, zero};
use faer::{Accum, MatMut, Par};
use rayon::prelude::*;

use super::block::{multiply, straight, view};
use super::primitive;

/// Fewest multiplications of a strip. Each thread allocates packing buffers, which do not pay off
/// for less work.
const SHARE: usize = 1 << 24;

/// One factor of a [`hadamard_gram`]: the inner products of rows, plus a constant.
#[derive(Debug, Clone)]
pub struct GramFactor {
    /// `[M, P]`.
    pub rows: Tensor<2>,
    /// Whether 1 is added to the inner products.
    pub constant: bool,
}

/// The lower triangle of `(L Lᵀ) ∘ (R Rᵀ)`, with the constants, accumulated in `dtype`. The entries
/// above the diagonal are undefined. Returns `None` on other devices and in other precisions.
///
/// These are the inner products of the outer products of two rows each: `⟨l_m r_mᵀ, l_n r_nᵀ⟩`.
///
/// ```
/// use burn::tensor::{DType, Device, Tensor};
/// use burn_flex_fused::product::{GramFactor, hadamard_gram};
///
/// let device = Device::flex();
/// let factor = |rows: [[f32; 2]; 2], constant| GramFactor {
///     rows: Tensor::from_data(rows, &device),
///     constant,
/// };
/// let left = factor([[1.0, 0.0], [1.0, 2.0]], true);
/// let right = factor([[2.0, 0.0], [1.0, 0.0]], false);
/// let gram = hadamard_gram(left, right, DType::F32).expect("a Flex device");
/// // (1 + 1) * 2 and (5 + 1) * 1.
/// assert_eq!(gram.slice([1..2, 0..2]).into_data().to_vec::<f32>().unwrap(), [4.0, 6.0]);
/// ```
///
/// # Panics
///
/// Panics if the factors have different numbers of rows.
pub fn hadamard_gram(left: GramFactor, right: GramFactor, dtype: DType) -> Option<Tensor<2>> {
    match dtype {
        DType::F32 => hadamard::<f32>(left, right),
        DType::F64 => hadamard::<f64>(left, right),
        _ => None,
    }
}

fn hadamard<E: Element + Pod + RealField>(
    left: GramFactor,
    right: GramFactor,
) -> Option<Tensor<2>> {
    let device = left.rows.device();
    let [samples, width] = left.rows.dims();
    let [others, other_width] = right.rows.dims();
    assert_eq!(samples, others, "samples of both factors");
    let (left, right) = (Products::<E>::new(left)?, Products::<E>::new(right)?);
    let mut sum = vec![E::default(); samples * samples];
    let work = samples * samples / 2 * (width + other_width);
    match strips(samples, work / SHARE).as_slice() {
        // On this thread: rayon's threads would allocate packing buffers.
        [] | [_] => write_both(&left, &right, 0..samples, &mut sum),
        strips => {
            let mut rest = sum.as_mut_slice();
            let mut parts = Vec::with_capacity(strips.len());
            for strip in strips {
                let (part, below) = rest.split_at_mut(strip.len() * samples);
                parts.push((strip.clone(), part));
                rest = below;
            }
            let parts = parts.into_par_iter().with_max_len(1);
            parts.for_each(|(strip, part)| write_both(&left, &right, strip, part));
        }
    }
    let data = TensorData::new(sum, [samples, samples]);
    Some(Tensor::from_data(data, (&device, E::dtype())))
}

/// Write the rows of `strip` of the product of both factors to `entries`.
fn write_both<E: Element + Pod + RealField>(
    left: &Products<E>,
    right: &Products<E>,
    strip: Range<usize>,
    entries: &mut [E],
) {
    let width = strip.end.max(1);
    let mut other = vec![E::default(); strip.len() * width];
    right.write(&strip, &mut other, width);
    left.write(&strip, entries, left.samples);
    let lines = entries.chunks_mut(left.samples.max(1));
    for (line, other) in lines.zip(other.chunks(width)) {
        for (entry, other) in line.iter_mut().zip(other) {
            *entry *= *other;
        }
    }
}

/// Split the rows into at most `count` strips with about the same share of the triangle.
fn strips(samples: usize, count: usize) -> Vec<Range<usize>> {
    // At most one strip per thread, because every strip packs the rows above it again.
    let count = count.clamp(1, rayon::current_num_threads());
    let cut = |at: usize| {
        let share = at as f64 / count as f64;
        (samples as f64 * share.sqrt()).round() as usize
    };
    let strips = (0..count).map(|at| cut(at)..cut(at + 1));
    strips.filter(|strip| !strip.is_empty()).collect()
}

/// A factor whose rows are read in place.
struct Products<E> {
    rows: FlexTensor,
    samples: usize,
    constant: E,
}

impl<E: Element + Pod + RealField> Products<E> {
    /// `None` on other devices.
    fn new(factor: GramFactor) -> Option<Self> {
        let [samples, _] = factor.rows.dims();
        let rows = primitive(&factor.rows)?;
        let rows = if rows.dtype() == E::dtype() {
            rows
        } else {
            Flex::float_cast(rows, E::dtype().into())
        };
        Some(Self {
            rows: straight(&rows),
            samples,
            constant: if factor.constant { one() } else { zero() },
        })
    }

    /// Write the rows of `strip` of the triangle to row-major `entries` of `width` columns. They are
    /// a rectangle up to the diagonal block, and the triangle of that block.
    fn write(&self, strip: &Range<usize>, entries: &mut [E], width: usize) {
        entries.fill(self.constant);
        let rows = view::<E>(&self.rows);
        let own = rows.subrows(strip.start, strip.len());
        let entries = MatMut::from_row_major_slice_mut(entries, strip.len(), width);
        let (before, entries) = entries.split_at_col_mut(strip.start);
        let above = rows.subrows(0, strip.start).transpose();
        multiply(before, Accum::Add, own, above);
        triangular::matmul(
            entries.subcols_mut(0, strip.len()),
            BlockStructure::TriangularLower,
            Accum::Add,
            own,
            BlockStructure::Rectangular,
            own.transpose(),
            BlockStructure::Rectangular,
            one::<E>(),
            Par::Seq,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    /// Largest difference from plain products of entries of size 1.
    fn distance(samples: usize, widths: [usize; 2], constants: [bool; 2], dtype: DType) -> f64 {
        let device = Device::flex();
        let factor = |width: usize, constant| GramFactor {
            rows: Tensor::random(
                [samples, width],
                Distribution::Normal(0.0, 1.0 / (width as f64).sqrt()),
                &device,
            ),
            constant,
        };
        let [left, right] = [0, 1].map(|side| factor(widths[side], constants[side]));
        let found = hadamard_gram(left.clone(), right.clone(), dtype).expect("a Flex device");
        assert_eq!((found.dims(), found.dtype()), ([samples; 2], dtype));
        let products = |factor: GramFactor| {
            let rows = factor.rows.cast(DType::F64);
            rows.clone().matmul(rows.transpose()) + f64::from(u8::from(factor.constant))
        };
        let expected = products(left) * products(right);
        let distance = (found.cast(DType::F64) - expected).tril(0).abs().max();
        distance.into_scalar::<f64>()
    }

    proptest! {
        #[test]
        fn strips_are_all_rows_in_order(samples in 0usize..2000, count in 0usize..40) {
            let mut next = 0;
            for strip in strips(samples, count) {
                prop_assert_eq!(strip.start, next);
                next = strip.end;
            }
            prop_assert_eq!(next, samples);
        }

        #[test]
        fn small_products_agree(
            samples in 1usize..40,
            widths in [1usize..70, 1usize..70],
            constants: [bool; 2],
        ) {
            prop_assert!(distance(samples, widths, constants, DType::F64) < 1e-13);
            prop_assert!(distance(samples, widths, constants, DType::F32) < 1e-4);
        }
    }

    #[test]
    fn products_of_many_strips_agree() {
        let (widths, constants) = ([801, 1003], [true, false]);
        assert!(distance(301, widths, constants, DType::F64) < 1e-13);
        assert!(distance(301, widths, constants, DType::F32) < 1e-4);
    }

    #[test]
    fn factors_without_columns_leave_the_constant_and_half_precision_is_left() {
        let factor = |constant| GramFactor {
            rows: Tensor::zeros([3, 0], &Device::flex()),
            constant,
        };
        let sum = hadamard_gram(factor(true), factor(true), DType::F32).expect("a Flex device");
        assert_eq!(sum.tril(0).sum().into_scalar::<f32>(), 6.0);
        assert!(hadamard_gram(factor(true), factor(false), DType::F16).is_none());
    }
}
