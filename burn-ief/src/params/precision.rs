//! The precision that updates are computed in: f64 for parameters in f64, f32 for all others.

use burn::tensor::{DType, Tensor};

/// f64 stays f64; everything else is computed in f32, because products of f16 rows overflow.
pub(crate) fn widened(dtype: DType) -> DType {
    if dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    }
}

/// Cast a tensor to [`widened`], if that changes anything.
pub(crate) fn widen<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let dtype = widened(x.dtype());
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}
