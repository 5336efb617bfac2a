//! Values and precision of single parameters.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Change the plain value of a parameter. Its id, training state and checkpointing stay; a
/// reparameterization is dropped.
pub(crate) fn replace<const D: usize>(
    param: Param<Tensor<D>>,
    change: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Param<Tensor<D>> {
    let trains = param.is_require_grad();
    param.map(|value| {
        if value.is_autodiff() {
            like(change(value.clone().inner()), &value).set_require_grad(trains)
        } else {
            change(value)
        }
    })
}

/// A weight without its adapters, under the same id and training state.
pub(crate) fn bare<const D: usize>(weight: &Param<Tensor<D>>) -> Param<Tensor<D>> {
    let (id, value, mapper) = weight.clone().consume();
    Param::from_mapped_value(id, value, mapper)
}

/// The stored value of a parameter, without its adapters and off the autodiff graph.
pub(crate) fn plain<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<D> {
    let value = param.base();
    if value.is_autodiff() {
        value.inner()
    } else {
        value
    }
}

/// A parameter that trains, also where the model is on a plain device for now.
pub(crate) fn trainable<const D: usize>(value: Tensor<D>, device: &Device) -> Param<Tensor<D>> {
    let there = Tensor::<1>::zeros([1], device);
    Param::from_tensor(like(value, &there)).set_require_grad(true)
}

/// Device of a weight, and the dtype of its adapter's parameters. A weight without a value yet is not
/// given one.
pub(crate) fn place<const D: usize>(weight: &Param<Tensor<D>>) -> (Device, DType) {
    let device = weight.lazy_device();
    let own = weight.is_initialized().then(|| weight.base().dtype());
    let dtype = match own {
        Some(own) if own.is_float() => own,
        _ => Tensor::<1>::zeros([1], &device).dtype(),
    };
    (device, at_least_f32(dtype))
}

/// The dtype of an adapter on a weight of this type: at least f32, as in PEFT. An adapter in half
/// precision would be rounded when it is loaded, and small updates would not move it.
pub(crate) fn at_least_f32(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        dtype => dtype,
    }
}

/// A plain tensor of these data.
pub(crate) fn tensor<const D: usize>(data: TensorData, device: &Device, dtype: DType) -> Tensor<D> {
    Tensor::from_data(data.convert_dtype(dtype), (&device.clone().inner(), dtype))
}

/// A plain tensor on the autodiff graph of `other`, with its checkpointing strategy; plain where
/// `other` is plain.
pub(crate) fn like<const D: usize, const E: usize>(
    plain: Tensor<D>,
    other: &Tensor<E>,
) -> Tensor<D> {
    if !other.is_autodiff() {
        return plain;
    }
    match other.gradient_checkpointing_strategy() {
        Some(strategy) => plain
            .autodiff()
            .with_gradient_checkpointing_strategy(strategy),
        None => plain.autodiff(),
    }
}

/// Cast only where it changes something; a packed tensor is unpacked.
pub(crate) fn at<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    match x.dtype() {
        own if own == dtype => x,
        own if own.is_float() => x.cast(dtype),
        _ => at(x.dequantize(), dtype),
    }
}
