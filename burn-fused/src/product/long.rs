//! Long sums with small results.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Element, TensorData};
use bytemuck::Pod;
use faer::linalg::matmul::matmul;
use faer::traits::RealField;
use faer::traits::math_utils::one;
use faer::{Accum, MatMut, Par};
use rayon::prelude::*;

use super::SHARE;
use super::block::{straight, view};

/// See [`transposed_product`](super::transposed_product).
pub(super) fn product<E: Element + Pod + RealField>(a: &FlexTensor, b: &FlexTensor) -> FlexTensor {
    let [a, b] = [a, b].map(straight);
    let [narrow, wide] = [&a, &b].map(view::<E>);
    if narrow.ncols() > wide.ncols() {
        return product::<E>(&b, &a).transpose(0, 1).to_contiguous();
    }
    let [terms, others] = [narrow, wide].map(|factor| factor.nrows());
    assert_eq!(terms, others, "terms of a product");
    let (rows, columns) = (narrow.ncols(), wide.ncols());
    let strips = (rows * columns * terms / SHARE).clamp(1, rayon::current_num_threads());
    let strip = terms.div_ceil(strips).max(1);
    let part = |at: usize| {
        let first = (at * strip).min(terms);
        let count = strip.min(terms - first);
        let mut part = vec![E::default(); rows * columns];
        matmul(
            MatMut::from_row_major_slice_mut(&mut part, rows, columns),
            Accum::Replace,
            narrow.subrows(first, count).transpose(),
            wide.subrows(first, count),
            one::<E>(),
            Par::Seq,
        );
        part
    };
    let parts: Vec<_> = (0..strips)
        .into_par_iter()
        .with_max_len(1)
        .map(part)
        .collect();
    let sum = parts.into_iter().reduce(|mut sum, part| {
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
        sum
    });
    let sum = sum.expect("one part or more");
    FlexTensor::from_data(TensorData::new(sum, [rows, columns]))
}
