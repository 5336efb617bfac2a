//! `x W + Σ s (x A) B`, the product of a linear layer and its adapters along the activations.

#[cfg(feature = "flex")]
mod operation;

use burn::tensor::Tensor;

use crate::adapters::{at, at_least_f32};

/// A low-rank update of a weight.
#[derive(Debug, Clone)]
pub(super) struct Update {
    /// What enters it instead of the layer's input, `[N, d_in]`: the input after its dropout.
    pub entering: Option<Tensor<2>>,
    /// A, `[d_in, r]`.
    pub a: Tensor<2>,
    /// B, `[r, d_out]`.
    pub b: Tensor<2>,
    /// s.
    pub scale: f64,
}

/// `x W + Σ s (x A) B` for x `[N, d_in]` and W `[d_in, d_out]`.
///
/// Where the device's memory is the host's and the weight is a constant, the products of the
/// weight and of the first update go into one output, forward and backward; elsewhere each has an
/// output of its own, and they are added.
pub(super) fn of(x: Tensor<2>, weight: Tensor<2>, updates: &[Update]) -> Tensor<2> {
    #[cfg(feature = "flex")]
    if let Some((first, others)) = updates.split_first()
        && operation::takes(&x, &weight, first)
    {
        let y = operation::apply(x.clone(), weight, first.clone());
        return add(y, x, others);
    }
    let y = x.clone().matmul(weight);
    add(y, x, updates)
}

/// `y + Σ s (x A) B`, the updates at the precision of their factors. In half precision the sum is
/// rounded once, as in PEFT.
pub(super) fn add(mut y: Tensor<2>, x: Tensor<2>, updates: &[Update]) -> Tensor<2> {
    let dtype = y.dtype();
    let wide = at_least_f32(dtype);
    for update in updates {
        let Update {
            entering,
            a,
            b,
            scale,
        } = update.clone();
        let entering = at(entering.unwrap_or_else(|| x.clone()), a.dtype());
        // Scaled where it is narrow.
        let hidden = entering.matmul(a) * scale;
        // No second owner of `y`, so that devices can add in place.
        y = at(y, wide) + at(hidden.matmul(b), wide);
    }
    at(y, dtype)
}
