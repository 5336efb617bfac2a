//! Embedding tables with low-rank adapters.

use burn::nn::Embedding;
use burn::tensor::{Int, Tensor};
use burn_ief::nn::ForwardRecorded;

use super::factors::LoraFactors;
use crate::adapters::{at, at_least_f32, without_bias};

/// A table with these adapters, `W[ids] + s A[ids] B`; with DoRA,
/// `(m / ‖W + s A B‖) (W[ids] + s A[ids] B)`. Dropout is not applied, as in PEFT.
pub(super) fn forward(
    base: &Embedding,
    parts: &[(&LoraFactors<2>, f64)],
    ids: Tensor<2, Int>,
) -> Tensor<3> {
    let looked_up = base.forward_recorded(ids.clone());
    let [batch, ..] = looked_up.dims();
    // In half precision the sum is rounded once, as in PEFT.
    let dtype = looked_up.dtype();
    let wide = at_least_f32(dtype);
    let looked_up = at(looked_up, wide);
    let mut vectors = looked_up.clone();
    for (adapter, factor) in parts {
        let read = Embedding {
            weight: adapter.a.clone(),
        };
        let hidden = read.forward_recorded(ids.clone());
        let delta = without_bias(&adapter.b, hidden) * (adapter.scale * factor);
        let delta = at(delta, wide);
        vectors = match adapter.ratios(base.weight.val(), *factor, batch) {
            None => vectors + delta,
            Some(ratios) => {
                let ratios = at(ratios.unsqueeze_dim(1), wide);
                vectors - looked_up.clone() + (looked_up.clone() + delta) * ratios
            }
        };
    }
    at(vectors, dtype)
}
