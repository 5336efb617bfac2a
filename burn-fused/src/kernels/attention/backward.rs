//! The backward pass for some heads of one sample.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::plan::{Plan, Scores};
use super::product::{self, Left, pack, product, step, turn, unpack};
use super::sizes::{BLOCK, Heads, Sizes, weigh};
use crate::kernels::real::Real;
use crate::kernels::reduce::sum_of_two;

/// Memory of a thread, used again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch<E> {
    key: Vec<E>,
    key_turned: Vec<E>,
    value_turned: Vec<E>,
    query: Vec<E>,
    error: Vec<E>,
    /// The weights, and after dropout.
    weights: Vec<E>,
    dropped: Vec<E>,
    capped: Vec<E>,
    /// The errors of the weights, then of the scores.
    errors: Vec<E>,
    of_query: Vec<E>,
    of_key: Vec<E>,
    of_value: Vec<E>,
}

/// All queries of some heads.
pub(super) struct Backward<'a, E: Real> {
    pub sizes: Sizes,
    pub plan: &'a Plan,
    pub scores: &'a Scores<'a, E>,
    pub sample: usize,
    /// Heads of keys and values.
    pub heads: Range<usize>,
    pub query: Heads<'a, E>,
    pub key: Heads<'a, E>,
    pub value: Heads<'a, E>,
    pub error: Heads<'a, E>,
    /// Of query, key and value: the columns of these heads, for all positions.
    pub gradients: [&'a mut [E]; 3],
    pub scratch: &'a mut Scratch<E>,
}

/// Padded sizes.
#[derive(Clone, Copy)]
struct Padded {
    keys: usize,
    width: usize,
    value_width: usize,
}

impl<E: Real> WithSimd for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let sizes = self.sizes;
        let step = step::<E, S>();
        let padded = Padded {
            keys: sizes.keys.next_multiple_of(step),
            width: sizes.width.next_multiple_of(step),
            value_width: sizes.value_width.next_multiple_of(step),
        };
        let Sizes {
            keys,
            width,
            value_width,
            ..
        } = sizes;
        for shared in self.heads.clone() {
            let key = self.key.at(0, shared, width);
            let (stride, sides) = (self.key.stride, [keys, width]);
            turn(
                key,
                stride,
                sides,
                padded.keys,
                &mut self.scratch.key_turned,
            );
            pack(key, stride, sides, padded.width, &mut self.scratch.key);
            let value = self.value.at(0, shared, value_width);
            let (stride, sides) = (self.value.stride, [keys, value_width]);
            turn(
                value,
                stride,
                sides,
                padded.keys,
                &mut self.scratch.value_turned,
            );
            clear(&mut self.scratch.of_key, keys * padded.width);
            clear(&mut self.scratch.of_value, keys * padded.value_width);
            for head in shared * sizes.group()..(shared + 1) * sizes.group() {
                for first in (0..sizes.queries).step_by(BLOCK) {
                    let queries = first..sizes.queries.min(first + BLOCK);
                    self.block(simd, head, queries, padded);
                }
            }
            let at = shared - self.heads.start;
            let count = self.heads.len();
            let [_, of_key, of_value] = &mut self.gradients;
            let out = &mut of_key[at * width..];
            unpack(
                &self.scratch.of_key,
                padded.width,
                width,
                out,
                count * width,
            );
            let out = &mut of_value[at * value_width..];
            let stride = count * value_width;
            unpack(
                &self.scratch.of_value,
                padded.value_width,
                value_width,
                out,
                stride,
            );
        }
    }
}

impl<E: Real> Backward<'_, E> {
    /// A block of queries of one head: write the gradients of the queries, and add to those of the
    /// keys and values.
    #[inline(always)]
    fn block<S: Simd>(&mut self, simd: S, head: usize, queries: Range<usize>, padded: Padded) {
        let Sizes {
            keys,
            width,
            value_width,
            ..
        } = self.sizes;
        let scale = E::of(self.plan.scale);
        let rows = queries.len();
        let query = self.query.at(queries.start, head, width);
        let error = self.error.at(queries.start, head, value_width);
        let scratch = &mut *self.scratch;
        let sides = [rows, width];
        pack(
            query,
            self.query.stride,
            sides,
            padded.width,
            &mut scratch.query,
        );
        let sides = [rows, value_width];
        pack(
            error,
            self.error.stride,
            sides,
            padded.value_width,
            &mut scratch.error,
        );
        for scores in [&mut scratch.weights, &mut scratch.errors] {
            scores.resize(rows * padded.keys, E::ZERO);
        }
        scratch.of_query.resize(rows * padded.width, E::ZERO);
        let capped = self.scores.soft_cap().is_some();
        scratch
            .capped
            .resize(if capped { rows * padded.keys } else { 0 }, E::ZERO);
        let dropped = self.plan.dropout.is_some();
        scratch
            .dropped
            .resize(if dropped { rows * padded.keys } else { 0 }, E::ZERO);

        // The weights and the errors of the weights, both [rows, keys].
        let to_keys = |depth| product::Sizes {
            rows,
            depth,
            columns: padded.keys,
        };
        let left = straight(&scratch.query, padded.width);
        let weights = &mut scratch.weights;
        product::<E, S, false, false>(
            simd,
            to_keys(width),
            scale,
            left,
            &scratch.key_turned,
            weights,
        );
        let left = straight(&scratch.error, padded.value_width);
        let errors = &mut scratch.errors;
        product::<E, S, false, false>(
            simd,
            to_keys(value_width),
            E::ONE,
            left,
            &scratch.value_turned,
            errors,
        );
        for at in 0..rows {
            let line = at * padded.keys..at * padded.keys + keys;
            let weights = &mut scratch.weights[line.clone()];
            let errors = &mut scratch.errors[line.clone()];
            let query = queries.start + at;
            let capped: &mut [E] = if capped {
                &mut scratch.capped[line.clone()]
            } else {
                &mut []
            };
            self.scores
                .adjust([self.sample, head, query], weights, capped);
            weigh(weights, self.scores.zeros());
            if let Some(dropout) = self.plan.dropout {
                let factors = &mut scratch.dropped[line];
                let sample = dropout.sample(self.sample, self.sizes.samples);
                let line = (sample * self.sizes.heads + head) * self.sizes.queries + query;
                Scores::dropout_factors(dropout, line, factors);
                for (error, factor) in errors.iter_mut().zip(factors.iter()) {
                    *error *= *factor;
                }
                for (factor, weight) in factors.iter_mut().zip(weights.iter()) {
                    *factor *= *weight;
                }
            }
            let mean = sum_of_two(weights, errors, |weight, error| weight * error);
            for (error, weight) in errors.iter_mut().zip(weights.iter()) {
                *error = *weight * (*error - mean);
            }
            for (error, capped) in errors.iter_mut().zip(capped.iter()) {
                *error *= E::ONE - *capped * *capped;
            }
            self.scores.leave_out([self.sample, query], errors, E::ZERO);
        }

        // The sums over the queries.
        let over_queries = |columns| product::Sizes {
            rows: keys,
            depth: rows,
            columns,
        };
        let entries = if dropped {
            &scratch.dropped
        } else {
            &scratch.weights
        };
        let left = turned(entries, padded.keys);
        let size = over_queries(padded.value_width);
        let out = &mut scratch.of_value;
        product::<E, S, true, true>(simd, size, E::ONE, left, &scratch.error, out);
        let left = turned(&scratch.errors, padded.keys);
        let size = over_queries(padded.width);
        let out = &mut scratch.of_key;
        product::<E, S, true, true>(simd, size, scale, left, &scratch.query, out);
        // The sum over the keys.
        let size = product::Sizes {
            rows,
            depth: keys,
            columns: padded.width,
        };
        let left = straight(&scratch.errors, padded.keys);
        let out = &mut scratch.of_query;
        product::<E, S, false, false>(simd, size, scale, left, &scratch.key, out);

        let group = self.sizes.group();
        let stride = self.heads.len() * group * width;
        let at = queries.start * stride + (head - self.heads.start * group) * width;
        let out = &mut self.gradients[0][at..];
        unpack(&scratch.of_query, padded.width, width, out, stride);
    }
}

#[inline(always)]
fn straight<E>(entries: &[E], stride: usize) -> Left<'_, E, false> {
    Left { entries, stride }
}

#[inline(always)]
fn turned<E>(entries: &[E], stride: usize) -> Left<'_, E, true> {
    Left { entries, stride }
}

#[inline(always)]
fn clear<E: Real>(scratch: &mut Vec<E>, count: usize) {
    scratch.clear();
    scratch.resize(count, E::ZERO);
}
