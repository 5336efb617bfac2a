//! First values of an adapter's parameters.

use burn::tensor::{DType, Device, Distribution, Tensor};

/// Uniform between ±1/√`fan_in`, as `kaiming_uniform_(a=√5)` of PyTorch.
pub(crate) fn kaiming(
    shape: [usize; 2],
    fan_in: usize,
    device: &Device,
    dtype: DType,
) -> Tensor<2> {
    let bound = 1.0 / (fan_in as f64).sqrt();
    Tensor::<2>::random(shape, Distribution::Uniform(-bound, bound), device).cast(dtype)
}
