//! Products with dense rows `[M, P]`.

use burn::tensor::{DType, Tensor};

use super::{TEMPORARY, to_dtype, triangular};

/// `A Bᵀ`, accumulated in `dtype`.
pub(super) fn cross(a: Tensor<2>, b: Tensor<2>, dtype: DType) -> Tensor<2> {
    let samples = a.dims()[0].max(b.dims()[0]);
    let shares = column_blocks(&a, samples, dtype).map(|(start, count)| {
        let cut = |rows: &Tensor<2>| to_dtype(rows.clone().narrow(1, start, count), dtype);
        cut(&a).matmul(cut(&b).transpose())
    });
    shares
        .reduce(|a, b| a + b)
        .expect("at least one block of columns")
}

/// `A Aᵀ`, accumulated in `dtype`; only the lower triangle is guaranteed.
pub(super) fn gram(rows: Tensor<2>, dtype: DType) -> Tensor<2> {
    let [samples, _] = rows.dims();
    let shares = column_blocks(&rows, samples, dtype).map(|(start, count)| {
        let wide = to_dtype(rows.clone().narrow(1, start, count), dtype);
        triangular(samples, usize::MAX, |rows, columns| {
            let columns = wide.clone().narrow(0, columns.start, columns.len());
            let rows = wide.clone().narrow(0, rows.start, rows.len());
            rows.matmul(columns.transpose())
        })
    });
    shares
        .reduce(|a, b| a + b)
        .expect("at least one block of columns")
}

/// Blocks of columns as (start, count): one block, or several if the columns have to be cast, so that
/// the cast copy has a bounded size.
fn column_blocks(
    rows: &Tensor<2>,
    samples: usize,
    dtype: DType,
) -> impl Iterator<Item = (usize, usize)> + use<> {
    let [_, columns] = rows.dims();
    let width = if rows.dtype() == dtype {
        columns
    } else {
        (TEMPORARY / samples.max(1)).min(columns)
    };
    let width = width.max(1);
    let starts = (0..columns.max(1)).step_by(width);
    starts.map(move |start| (start, width.min(columns - start)))
}

pub(super) fn squared_norms(rows: Tensor<2>, dtype: DType) -> Tensor<1> {
    to_dtype(rows, dtype).square().sum_dim(1).squeeze_dim(1)
}

pub(super) fn matvec(rows: Tensor<2>, v: Tensor<1>) -> Tensor<1> {
    rows.matmul(v.unsqueeze_dim(1)).squeeze_dim(1)
}

pub(super) fn t_matvec(rows: Tensor<2>, c: Tensor<1>) -> Tensor<1> {
    c.unsqueeze_dim::<2>(0).matmul(rows).squeeze_dim(0)
}
