//! Sizes of an attention, its tensors by samples and heads, and its weights.

use burn::backend::flex::FlexTensor;

use super::plan::Plan;
use crate::kernels::memory::{entries, shape};
use crate::kernels::real::Real;
use crate::kernels::reduce::{exp_and_sum, max};

/// Queries whose scores are in the cache together.
pub(super) const BLOCK: usize = 64;

/// Sizes of one attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) samples: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) key_value_heads: usize,
    /// Of a query's and a key's head.
    pub(super) width: usize,
    /// Of a value's head.
    pub(super) value_width: usize,
}

impl Sizes {
    pub(super) fn new(plan: &Plan, query: &FlexTensor, value: &FlexTensor) -> Self {
        let (query, value) = (shape(query), shape(value));
        Self {
            samples: query[0],
            queries: query[1],
            keys: value[1],
            heads: plan.heads,
            key_value_heads: plan.key_value_heads,
            width: query[2] / plan.heads,
            value_width: value[2] / plan.key_value_heads,
        }
    }

    /// Query heads that share a key head.
    pub(super) fn group(&self) -> usize {
        self.heads / self.key_value_heads
    }
}

/// A tensor `[M, T, heads * width]` of one sample: entries from the first of a head on, and the
/// number of entries between positions.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a, E> {
    pub(super) entries: &'a [E],
    pub(super) stride: usize,
}

impl<'a, E> Heads<'a, E> {
    /// From head `at` of this width on, at a position.
    #[inline(always)]
    pub(super) fn at(self, position: usize, head: usize, width: usize) -> &'a [E] {
        &self.entries[position * self.stride + head * width..]
    }
}

/// The entries of all samples of a dense tensor `[M, T, width]`.
pub(super) fn samples<'a, E: Real>(
    x: &'a FlexTensor,
) -> impl Fn(usize) -> Heads<'a, E> + Sync + use<'a, E> {
    let shape = shape(x);
    let (positions, stride) = (shape[1], shape[2]);
    let all = entries::<E>(x);
    move |sample| Heads {
        entries: &all[sample * positions * stride..][..positions * stride],
        stride,
    }
}

/// Scores to weights. With `zeros`, a row whose scores are all `-inf` gets zeros, as in Burn's
/// attention; otherwise NaN, as in Burn's softmax.
#[inline(always)]
pub(super) fn weigh<E: Real>(row: &mut [E], zeros: bool) {
    let mut largest = max(row);
    if zeros && largest < E::LOWEST {
        largest = E::LOWEST;
    }
    let mut sum = exp_and_sum(row, largest);
    if zeros && sum < E::SMALLEST {
        sum = E::SMALLEST;
    }
    let inverse = E::ONE / sum;
    for x in row {
        *x *= inverse;
    }
}
