//! Linear layers with low-rank adapters, along the activations.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{Tensor, assert_shape};
use burn_ief::nn::{ForwardRecorded, expand_param, record_low_rank};
use burn_ief::{Recorder, recorder};

use super::factors::LoraFactors;
use super::inputs;
use super::product::{self, Update};
use crate::adapters::{at, at_least_f32, dense, without_bias};

/// The adapters that take part, with the factors on their updates.
type Parts<'a> = [(&'a LoraFactors<2>, f64)];

/// A layer with these adapters, `x W + b + s (drop(x) A) B`. The product is formed along the
/// activations, folded to 2-D: the dense weight is never composed, neither forward nor backward.
/// Inside a recording the uses of A, B and DoRA's magnitudes are recorded per sample, and those of
/// the layer's own parameters if they train.
pub(super) fn forward<const D: usize>(
    base: &Linear,
    parts: &Parts<'_>,
    input: Tensor<D>,
) -> Tensor<D> {
    let recorder = recorder();
    let input = match &recorder {
        Some(recorder) => recorder.batch(input),
        None => input,
    };
    let [d_input, d_output] = base.weight.lazy_shape().dims();
    assert_shape!(input, [.., d_input]);
    let mut shape = input.dims();
    let batch = shape[0];
    let positions = shape[1..D - 1].iter().product();
    shape[D - 1] = d_output;
    let x = input.reshape([batch, positions, d_input]);
    inputs::note(parts, &x);
    if parts.iter().any(|(adapter, _)| adapter.magnitude.is_some()) {
        return decomposed(base, parts, x).reshape(shape);
    }
    let dims = (batch, positions);
    let y = match recorder {
        None => plain(base, parts, x.reshape([batch * positions, d_input])),
        Some(recorder) => Call { recorder, dims }.recorded(base, parts, x),
    };
    y.reshape(shape)
}

/// Outside a recording, on `[M * T, d_input]`.
fn plain(base: &Linear, parts: &Parts<'_>, x: Tensor<2>) -> Tensor<2> {
    let weight = dense(base.weight.val(), x.dtype());
    let update = |&(adapter, factor): &(&LoraFactors<2>, f64)| Update {
        entering: adapter.drops().then(|| adapter.dropout.forward(x.clone())),
        a: adapter.a.val(),
        b: adapter.b.val(),
        scale: adapter.scale * factor,
    };
    let updates: Vec<Update> = parts.iter().map(update).collect();
    if at_least_f32(x.dtype()) != x.dtype() {
        // The layer rounds with its bias, and then the sum with the updates, as in PEFT.
        let y = x.clone().matmul(weight);
        let y = match &base.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        };
        return product::add(y, x, &updates);
    }
    let y = product::of(x, weight, &updates);
    match &base.bias {
        Some(bias) => y + bias.val().unsqueeze(),
        None => y,
    }
}

/// With DoRA, on `[M, T, d_input]`, recorded or not: `(m / ‖W + s A B‖) (x (W + s A B)) + b`.
fn decomposed(base: &Linear, parts: &Parts<'_>, x: Tensor<3>) -> Tensor<3> {
    let [batch, _, _] = x.dims();
    // In half precision the sum is rounded once, as in PEFT.
    let through = without_bias(&base.weight, x.clone());
    let dtype = through.dtype();
    let wide = at_least_f32(dtype);
    let through = at(through, wide);
    let mut y = through.clone();
    for (adapter, factor) in parts {
        let scale = adapter.scale * factor;
        let entering = adapter
            .dropout
            .forward_recorded(at(x.clone(), adapter.a.val().dtype()));
        let hidden = without_bias(&adapter.a, entering.clone());
        let delta = at(without_bias(&adapter.b, hidden) * scale, wide);
        let Some(ratios) = adapter.ratios(base.weight.val(), *factor, batch) else {
            y = y + delta;
            continue;
        };
        let ratios = at(ratios.unsqueeze_dim(1), wide);
        let base_part = if adapter.drops() {
            at(without_bias(&base.weight, at(entering, x.dtype())), wide)
        } else {
            through.clone()
        };
        y = y - base_part.clone() + (base_part + delta) * ratios;
    }
    let y = match &base.bias {
        Some(bias) => {
            let bias: Tensor<3> = expand_param::<_, 2>(bias, batch).unsqueeze_dim(1);
            y + at(bias, wide)
        }
        None => y,
    };
    at(y, dtype)
}

/// One recorded use.
struct Call {
    recorder: Recorder,
    /// Rows on the batch axis, positions.
    dims: (usize, usize),
}

impl Call {
    /// On `[M, T, d_input]`, to `[M * T, d_output]`.
    fn recorded(&self, base: &Linear, parts: &Parts<'_>, x: Tensor<3>) -> Tensor<2> {
        let (batch, positions) = self.dims;
        let [_, _, d_input] = x.dims();
        let [_, d_output] = base.weight.lazy_shape().dims();
        let folded: Tensor<2> = x.clone().reshape([batch * positions, d_input]);
        // The factors are constants: their rows come from inputs and output errors.
        let update = |&(adapter, factor): &(&LoraFactors<2>, f64)| Update {
            entering: adapter
                .drops()
                .then(|| adapter.dropout.forward_recorded(folded.clone())),
            a: adapter.a.val().inner(),
            b: adapter.b.val().inner(),
            scale: adapter.scale * factor,
        };
        let updates: Vec<Update> = parts.iter().map(update).collect();

        let trains = |bias: &Param<Tensor<1>>| bias.is_require_grad();
        let base_trains = base.weight.is_require_grad() || base.bias.as_ref().is_some_and(trains);
        let y = if base_trains {
            // The base records its own parameters.
            let y = base
                .forward_recorded(x)
                .reshape([batch * positions, d_output]);
            product::add(y, folded.clone(), &updates)
        } else {
            let weight = dense(base.weight.val().inner(), folded.dtype());
            product::of(folded.clone(), weight, &updates)
        };
        let frozen_bias = base.bias.as_ref().filter(|_| !base_trains);
        let frozen_bias = frozen_bias.map(|bias| bias.val().inner().unsqueeze::<2>());
        let factors = parts
            .iter()
            .flat_map(|(adapter, _)| [&adapter.a, &adapter.b]);
        let Some(first) = factors.into_iter().find(|factor| factor.is_require_grad()) else {
            return match frozen_bias {
                Some(bias) => y + bias,
                None => y,
            };
        };
        let (y, tap) = match frozen_bias {
            None => self.recorder.tap(y, first),
            // The bias, expanded over all positions, is the tap: no zero is added.
            Some(bias) => {
                let tap = self.recorder.leaf(bias.expand(y.dims()), &y, first);
                (y + tap.value(), tap)
            }
        };
        for ((adapter, _), update) in parts.iter().zip(updates) {
            let entering = update.entering.unwrap_or_else(|| folded.clone());
            let input = entering.reshape([batch, positions, d_input]);
            let factors = [&adapter.a, &adapter.b];
            record_low_rank(&self.recorder, factors, update.scale, input, tap.clone());
        }
        y
    }
}
