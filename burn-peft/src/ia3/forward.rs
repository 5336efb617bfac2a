//! IA³ in the forward passes of layers.

use std::ops::ControlFlow;

use burn::nn::conv::Conv2d;
use burn::nn::{Embedding, Linear};
use burn::tensor::Tensor;
use burn_ief::nn::{ForwardRecorded, expand_param};
use burn_ief::recorder;

use super::config::Ia3Config;
use super::vector::{Ia3Adapters, Ia3Side, Ia3Vector};
use crate::adapters::{at, bare};
use crate::tuner::{ForwardLayers, TableAsHead};

impl ForwardLayers for Ia3Config {
    fn tied_head(table: &Embedding) -> Option<TableAsHead> {
        TableAsHead::of::<Ia3Vector>(table)
    }

    fn forward_linear<const D: usize>(
        layer: &Linear,
        input: Tensor<D>,
    ) -> ControlFlow<Tensor<D>, Tensor<D>> {
        let Some(adapters) = Ia3Adapters::of(&layer.weight) else {
            return ControlFlow::Continue(input);
        };
        let base = Linear {
            weight: bare(&layer.weight),
            bias: layer.bias.clone(),
        };
        let parts = adapters.parts();
        let input = scaled(input, &parts, Ia3Side::Input, D - 1);
        let output = base.forward_recorded(input);
        ControlFlow::Break(scaled(output, &parts, Ia3Side::Output, D - 1))
    }

    fn forward_conv2d(layer: &Conv2d, input: Tensor<4>) -> ControlFlow<Tensor<4>, Tensor<4>> {
        let Some(adapters) = Ia3Adapters::of(&layer.weight) else {
            return ControlFlow::Continue(input);
        };
        let parts = adapters.parts();
        let inputs = parts.iter().any(|(part, _)| part.side == Ia3Side::Input);
        if layer.groups != 1 && inputs {
            // A vector is as long as the kernels' own inputs, those of one group. A walk over a
            // module does not see groups, so adapters can get here. The composed weight means the
            // same scales in each group; a recording has no rule for it and says so.
            return ControlFlow::Break(layer.forward_recorded(input));
        }
        let base = Conv2d {
            weight: bare(&layer.weight),
            ..layer.clone()
        };
        let input = scaled(input, &parts, Ia3Side::Input, 1);
        let output = base.forward_recorded(input);
        ControlFlow::Break(scaled(output, &parts, Ia3Side::Output, 1))
    }
}

/// `x` times the vectors of one side along an axis, with one copy of a vector for each sample, so
/// that their use is recorded.
fn scaled<const D: usize>(
    x: Tensor<D>,
    parts: &[(&Ia3Vector, f64)],
    side: Ia3Side,
    axis: usize,
) -> Tensor<D> {
    let mut parts = parts.iter().filter(|(part, _)| part.side == side);
    let Some(first) = parts.next() else {
        return x;
    };
    let x = match recorder() {
        Some(recorder) => recorder.batch(x),
        None => x,
    };
    let dims = x.dims();
    let copies = |(part, factor): &(&Ia3Vector, f64)| {
        let scales: Tensor<2> = expand_param(&part.l, dims[0]);
        Ia3Vector::with_factor(scales, *factor)
    };
    let scales = parts.fold(copies(first), |product, part| product * copies(part));
    let mut shape = [1; D];
    shape[0] = dims[0];
    shape[axis] = dims[axis];
    // The product is formed in the vectors' type and rounded once, as in PEFT.
    let dtype = x.dtype();
    let product = at(x, scales.dtype()) * scales.reshape(shape);
    at(product, dtype)
}
