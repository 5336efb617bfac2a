//! Squares of outer products of rows, added up without forming the products.

use burn::tensor::{DType, Element, ElementConversion, Tensor, TensorData};
use bytemuck::Pod;
use faer::MatRef;
use faer::traits::RealField;

use super::block::{straight, view};
use super::primitive;

/// For rows `l_n` and `r_n` of two factors and weights `w_n`: `Σ_n w_n² ‖r_n‖² l_ni²` for every i, and
/// `Σ_n w_n² ‖l_n‖² r_nj²` for every j. Returns `None` on other devices and in other precisions.
///
/// These are the sums over the columns and over the rows of the squared outer products
/// `w_n l_nᵀ r_n`. The factors are read twice, and nothing of their size is written.
///
/// # Shapes
///
/// - left: `[M, i]`
/// - right: `[M, o]`
/// - weights: `[M]`
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_flex_fused::product::outer_squares;
///
/// let device = Device::flex();
/// let left = Tensor::<2>::from_data([[3.0, 4.0]], &device);
/// let right = Tensor::<2>::from_data([[3.0]], &device);
/// let weights = Tensor::<1>::from_data([2.0], &device);
/// // The products are 9 and 12; their weight is 2.
/// let [rows, columns] = outer_squares(&left, &right, &weights).expect("a Flex device");
/// assert_eq!(rows.into_data().try_to_vec::<f32>().unwrap(), [324.0, 576.0]);
/// assert_eq!(columns.into_data().try_to_vec::<f32>().unwrap(), [900.0]);
/// ```
///
/// # Panics
///
/// Panics if the factors and the weights have different numbers of rows.
pub fn outer_squares(
    left: &Tensor<2>,
    right: &Tensor<2>,
    weights: &Tensor<1>,
) -> Option<[Tensor<1>; 2]> {
    let [samples] = weights.dims();
    assert_eq!(left.dims()[0], samples, "samples of both factors");
    assert_eq!(right.dims()[0], samples, "samples of both factors");
    match left.dtype() {
        DType::F32 => sums::<f32>(left, right, weights),
        DType::F64 => sums::<f64>(left, right, weights),
        _ => None,
    }
}

fn sums<E: Element + Pod + RealField>(
    left: &Tensor<2>,
    right: &Tensor<2>,
    weights: &Tensor<1>,
) -> Option<[Tensor<1>; 2]> {
    let device = left.device();
    let [left, right] = [primitive(left)?, primitive(right)?];
    if left.dtype() != right.dtype() {
        return None;
    }
    let [left, right] = [straight(&left), straight(&right)];
    let (left, right) = (view::<E>(&left), view::<E>(&right));
    let weights: Vec<f64> = weights.clone().into_data().iter::<f64>().collect();
    let sums = [(left, right), (right, left)].map(|(own, other)| {
        let mut sums = vec![E::default(); own.ncols()];
        for (n, weight) in weights.iter().enumerate() {
            add(&mut sums, own, n, weight * length(other, n));
        }
        let count = sums.len();
        Tensor::from_data(TensorData::new(sums, [count]), (&device, E::dtype()))
    });
    Some(sums)
}

/// Sums that the processor adds to at the same time.
const LANES: usize = 16;

/// The length of a row.
fn length<E: Element + RealField>(rows: MatRef<'_, E>, n: usize) -> f64 {
    let square: f64 = match rows.row(n).try_as_row_major() {
        Some(row) => {
            let (lines, rest) = row.as_slice().as_chunks::<LANES>();
            let mut sums = [E::default(); LANES];
            for line in lines {
                for (sum, x) in sums.iter_mut().zip(line) {
                    *sum += *x * *x;
                }
            }
            let all = sums.iter().map(|x| x.elem::<f64>());
            let rest = rest.iter().map(|x| x.elem::<f64>().powi(2));
            all.chain(rest).sum()
        }
        None => {
            let row = (0..rows.ncols()).map(|j| rows[(n, j)].elem::<f64>().powi(2));
            row.sum()
        }
    };
    square.sqrt()
}

/// Add the squares of row n times a factor. The product is taken before it is squared: errors of fitted
/// samples are small, and their weights large.
fn add<E: Element + RealField>(sums: &mut [E], rows: MatRef<'_, E>, n: usize, factor: f64) {
    let factor: E = factor.elem();
    let term = |x: E| {
        let x = x * factor;
        x * x
    };
    match rows.row(n).try_as_row_major() {
        Some(row) => {
            for (sum, x) in sums.iter_mut().zip(row.as_slice()) {
                *sum += term(*x);
            }
        }
        None => {
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum += term(rows[(n, j)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_those_of_the_products(
            m in 1..7usize, i in 1..40usize, o in 1..40usize,
            double in any::<bool>(), turned in any::<bool>(),
        ) {
            let dtype = if double { DType::F64 } else { DType::F32 };
            let noise = |shape: [usize; 2]| {
                let normal = Distribution::Normal(0.0, 1.0);
                Tensor::<2>::random(shape, normal, (&Device::flex(), dtype))
            };
            let factor = |width| {
                if turned {
                    noise([width, m]).transpose()
                } else {
                    noise([m, width])
                }
            };
            let (left, right) = (factor(i), factor(o));
            let weights = noise([1, m]).squeeze_dim::<1>(0);
            let [rows, columns] = outer_squares(&left, &right, &weights).expect("Flex");
            let products = left.reshape([m, i, 1]) * right.reshape([m, 1, o]);
            let squares = (products * weights.reshape([m, 1, 1])).square().sum_dim(0);
            let squares = squares.reshape([i, o]);
            let tolerance = if double { 1e-12 } else { 1e-4 };
            for (found, expected) in [
                (rows, squares.clone().sum_dim(1).reshape([i])),
                (columns, squares.sum_dim(0).reshape([o])),
            ] {
                let size: f64 = expected.clone().max().into_scalar::<f64>();
                let difference: f64 = (found - expected).abs().max().into_scalar::<f64>();
                prop_assert!(difference <= tolerance * size.max(1e-6), "{difference} of {size}");
            }
        }
    }

    #[test]
    fn other_precisions_are_left_to_the_caller() {
        let device = Device::flex();
        let x = Tensor::<2>::ones([2, 3], (&device, DType::F16));
        assert!(outer_squares(&x, &x, &Tensor::ones([2], &device)).is_none());
    }
}
