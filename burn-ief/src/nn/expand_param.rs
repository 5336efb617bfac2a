//! A parameter that all samples of the batch share.

use burn::module::Param;
use burn::tensor::Tensor;

use crate::record::{Recorder, is_empty_batch, recorder, without_samples};
use crate::rows::Rows;

/// One copy of a parameter for each of `batch` samples, on axis 0.
///
/// Use it for soft prompts, class tokens, position embeddings, scales and relative biases.
/// Broadcasting such a parameter would add up the gradients of the samples. This call expands it
/// first, so that every sample has a gradient of its own, and records dense rows `[M, P]`.
///
/// `E` is the rank of the result: one more than the rank `D` of the parameter, or `D` itself if
/// axis 0 of the parameter has size 1. In a recording with drawn labels, axis 0 of the result also
/// holds the copies of the samples.
///
/// # Shapes
///
/// - param: `[…]` or `[1, …]`
/// - output: `[batch, …]`
///
/// # Panics
///
/// Panics if `E` is neither `D + 1` nor `D`, or if it is `D` and axis 0 of the parameter is not 1.
///
/// ```
/// use burn::module::Param;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::expand_param;
///
/// let device = Device::flex().autodiff();
/// let prompt = Param::from_tensor(Tensor::<2>::ones([20, 8], &device));
/// let prompts: Tensor<3> = expand_param(&prompt, 4);
/// assert_eq!(prompts.dims(), [4, 20, 8]);
///
/// let class_token = Param::from_tensor(Tensor::<3>::ones([1, 1, 8], &device));
/// let tokens: Tensor<3> = expand_param(&class_token, 4);
/// assert_eq!(tokens.dims(), [4, 1, 8]);
/// ```
pub fn expand_param<const D: usize, const E: usize>(
    param: &Param<Tensor<D>>,
    batch: usize,
) -> Tensor<E> {
    let value = param.val();
    let own = value.dims();
    let mut shape = [batch; E];
    if E == D + 1 {
        shape[1..].copy_from_slice(&own);
    } else if E == D && own[0] == 1 {
        shape[1..].copy_from_slice(&own[1..]);
    } else {
        panic!("cannot expand a parameter of shape {own:?} to rank {E} by a batch axis");
    }
    let mut single = shape;
    single[0] = 1;
    if is_empty_batch(batch) || batch == 0 {
        return without_samples(shape, &value);
    }
    let Some(recorder) = recorder() else {
        return value.reshape(single).expand(shape);
    };
    shape[0] = recorder.batch_size(batch);
    if !param.is_require_grad() {
        return value.reshape(single).expand(shape);
    }
    let expanded = value.clone().inner().reshape(single).expand(shape);
    let tap = recorder.leaf(expanded, &value, param);
    let leaf = tap.value();
    let [rows, width] = [shape[0], shape[1..].iter().product()];
    recorder.record(param, rows, move |grads| {
        let error = tap.error(grads)?;
        Some(Rows::dense(error.reshape([rows, width])))
    });
    leaf
}

/// A parameter that is broadcast to the entries of `x`, of the dtype of `x`. If it trains, it has one copy per
/// sample on axis 0, and the gradients of the copies are recorded as its rows.
///
/// `shape` is that of one copy, with 1 on axis 0.
pub(super) fn broadcast<const D: usize>(
    recorder: &Recorder,
    parameter: &Param<Tensor<1>>,
    x: &Tensor<D>,
    mut shape: [usize; D],
) -> Tensor<D> {
    let value = parameter.val().inner();
    let value = if value.dtype() == x.dtype() {
        value
    } else {
        value.cast(x.dtype())
    };
    let [width] = value.dims();
    let value = value.reshape(shape);
    if !parameter.is_require_grad() {
        return value;
    }
    let batch = x.dims()[0];
    shape[0] = batch;
    let tap = recorder.leaf(value.expand(shape), x, parameter);
    let leaf = tap.value();
    recorder.record(parameter, batch, move |grads| {
        let error = tap.error(grads)?;
        Some(Rows::dense(error.reshape([batch, width])))
    });
    leaf
}
