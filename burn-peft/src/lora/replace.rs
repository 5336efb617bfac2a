//! New values for parameters.

use burn::module::Param;
use burn::tensor::Tensor;

use super::adapter::beside;

/// Change the plain value of a parameter; id, training state and tape settings stay.
pub(crate) fn replace<const D: usize>(
    param: Param<Tensor<D>>,
    change: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Param<Tensor<D>> {
    let trains = param.is_require_grad();
    param.map(|value| match value.is_autodiff() {
        true => beside(change(value.clone().inner()), &value).set_require_grad(trains),
        false => change(value),
    })
}
