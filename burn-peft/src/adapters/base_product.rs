//! The products of a layer's own weight, which may be packed.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{DType, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_ief::recorder;

use super::parameter::at;

/// The weight, unpacked to the dtype of its input where it is quantised.
pub(crate) fn dense(weight: Tensor<2>, dtype: DType) -> Tensor<2> {
    if weight.dtype().is_float() {
        weight
    } else {
        at(weight, dtype)
    }
}

/// `x W` without a bias, folded to 2-D.
pub(crate) fn without_bias(weight: &Param<Tensor<2>>, x: Tensor<3>) -> Tensor<3> {
    let packed = !weight.base().dtype().is_float();
    if recorder().is_some() && !packed {
        let layer = Linear {
            weight: weight.clone(),
            bias: None,
        };
        return layer.forward_recorded(x);
    }
    let dtype = x.dtype();
    folded(x, dense(weight.val(), dtype))
}

/// `x W` for x `[M, T, in]` and a matrix `[in, out]` that all samples share, folded to 2-D.
pub(crate) fn folded(x: Tensor<3>, weight: Tensor<2>) -> Tensor<3> {
    let [batch, positions, d_input] = x.dims();
    let y = x.reshape([batch * positions, d_input]).matmul(weight);
    let [_, width] = y.dims();
    y.reshape([batch, positions, width])
}
