//! Adapters that add a matrix to the weight of a linear layer, along the activations.

use std::ops::ControlFlow;

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Tensor, assert_shape};
use burn_ief::nn::{ForwardRecorded, expand_param};
use burn_ief::recorder;

use super::base_product::without_bias;
use super::layer_adapter::LayerAdapter;
use super::parameter::{at, at_least_f32, bare};
use super::stack::Adapters;

/// An adapter that adds a matrix Δ `[in, out]` to the weight of a linear layer.
pub(crate) trait AddedMatrix: LayerAdapter<2> {
    /// Δ.
    fn delta(&self) -> Tensor<2>;

    /// `x Δ` for x `[M, T, in]`, with parameters from `uses`.
    fn along(&self, x: Tensor<3>, uses: &Uses) -> Tensor<3>;
}

/// How the parameters of an adapter enter its product.
pub(crate) struct Uses {
    /// In a recording the rows on the batch axis: each has a copy of the parameter, whose gradient is the
    /// sample's row.
    samples: Option<usize>,
}

impl Uses {
    /// A parameter with a batch axis in front, of length M in a recording and of length 1 otherwise; `E`
    /// is `D + 1`.
    pub fn of<const D: usize, const E: usize>(&self, param: &Param<Tensor<D>>) -> Tensor<E> {
        match self.samples {
            Some(samples) => expand_param(param, samples),
            None => param.val().unsqueeze(),
        }
    }
}

/// The weight with `factor` times the matrix of one adapter, in the adapter's type.
pub(crate) fn compose<A: AddedMatrix>(adapter: &A, weight: Tensor<2>, factor: f64) -> Tensor<2> {
    let delta = adapter.delta() * factor;
    at(weight, delta.dtype()) + delta
}

/// A linear layer with adapters of this type, `x W + b + Σ f (x Δ)`, or the input if it has none. The
/// dense sum of weights is not composed. In half precision the sum is rounded once, as in PEFT.
pub(crate) fn forward_linear<A: AddedMatrix, const D: usize>(
    layer: &Linear,
    input: Tensor<D>,
) -> ControlFlow<Tensor<D>, Tensor<D>> {
    let Some(adapters) = Adapters::<A, 2>::of(&layer.weight) else {
        return ControlFlow::Continue(input);
    };
    let recorder = recorder();
    let input = match &recorder {
        Some(recorder) => recorder.batch(input),
        None => input,
    };
    let [d_input, d_output] = layer.weight.lazy_shape().dims();
    assert_shape!(input, [.., d_input]);
    let mut shape = input.dims();
    let batch = shape[0];
    let positions = shape[1..D - 1].iter().product::<usize>();
    shape[D - 1] = d_output;
    let (uses, dims) = match recorder {
        Some(_) => (Some(batch), [batch, positions, d_input]),
        // All samples share the parameters: one large product.
        None => (None, [1, batch * positions, d_input]),
    };
    let uses = Uses { samples: uses };
    let x: Tensor<3> = input.reshape(dims);
    let base = Linear {
        weight: bare(&layer.weight),
        bias: layer.bias.clone(),
    };
    let mut y = base_output(&base, x.clone());
    let dtype = y.dtype();
    let wide = at_least_f32(dtype);
    for (adapter, factor) in adapters.parts() {
        let delta = adapter.along(x.clone(), &uses);
        y = at(y, wide) + at(delta, wide) * factor;
    }
    ControlFlow::Break(at(y, dtype).reshape(shape))
}

/// `x W + b`, recorded if the layer's own parameters train.
fn base_output(base: &Linear, x: Tensor<3>) -> Tensor<3> {
    if base.weight.base().dtype().is_float() {
        return base.forward_recorded(x);
    }
    let y = without_bias(&base.weight, x);
    match &base.bias {
        Some(bias) => y + bias.val().unsqueeze(),
        None => y,
    }
}
