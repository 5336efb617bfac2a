//! Products with dense rows `[M, P]`.

use burn::tensor::{DType, Tensor};

use super::to_dtype;

pub(super) fn cross(a: Tensor<2>, b: Tensor<2>, dtype: DType) -> Tensor<2> {
    to_dtype(a, dtype).matmul(to_dtype(b, dtype).transpose())
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
