//! The forward pass for a block of queries of one sample.

use pulp::{Simd, WithSimd};

use super::plan::{Plan, Scores};
use super::product::{self, Left, pack, product, step, turn, unpack};
use super::sizes::{Heads, Sizes, weigh};
use crate::kernels::real::Real;

/// Memory of a thread, used again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch<E> {
    key: Vec<E>,
    value: Vec<E>,
    weights: Vec<E>,
    capped: Vec<E>,
    out: Vec<E>,
}

/// All heads of a block of queries.
pub(super) struct Forward<'a, E: Real> {
    pub sizes: Sizes,
    pub plan: &'a Plan,
    pub scores: &'a Scores<'a, E>,
    pub sample: usize,
    /// The first query of the block.
    pub first: usize,
    pub query: Heads<'a, E>,
    pub key: Heads<'a, E>,
    pub value: Heads<'a, E>,
    /// The block's rows of `[T, heads * value_width]`.
    pub out: &'a mut [E],
    pub scratch: &'a mut Scratch<E>,
}

impl<E: Real> WithSimd for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            sizes,
            plan,
            scores,
            sample,
            first,
            out,
            scratch,
            ..
        } = self;
        let Sizes {
            keys,
            width,
            value_width,
            ..
        } = sizes;
        let stride = sizes.heads * value_width;
        let queries = out.len() / stride;
        let padded_keys = keys.next_multiple_of(step::<E, S>());
        let padded_value = value_width.next_multiple_of(step::<E, S>());
        scratch.weights.resize(queries * padded_keys, E::ZERO);
        scratch.capped.resize(keys, E::ZERO);
        scratch.out.resize(queries * padded_value, E::ZERO);
        for shared in 0..sizes.key_value_heads {
            let key = self.key.at(0, shared, width);
            turn(
                key,
                self.key.stride,
                [keys, width],
                padded_keys,
                &mut scratch.key,
            );
            let value = self.value.at(0, shared, value_width);
            let sides = [keys, value_width];
            pack(
                value,
                self.value.stride,
                sides,
                padded_value,
                &mut scratch.value,
            );
            for head in shared * sizes.group()..(shared + 1) * sizes.group() {
                let left = Left::<_, false> {
                    entries: self.query.at(first, head, width),
                    stride: self.query.stride,
                };
                let size = product::Sizes {
                    rows: queries,
                    depth: width,
                    columns: padded_keys,
                };
                let weights = &mut scratch.weights;
                let scale = E::of(plan.scale);
                product::<E, S, false, false>(simd, size, scale, left, &scratch.key, weights);
                for (at, row) in weights.chunks_exact_mut(padded_keys).enumerate() {
                    let row = &mut row[..keys];
                    let query = first + at;
                    scores.adjust([sample, head, query], row, &mut scratch.capped);
                    weigh(row, scores.zeros());
                    if let Some(dropout) = plan.dropout {
                        let sample = dropout.sample(sample, sizes.samples);
                        let line = (sample * sizes.heads + head) * sizes.queries + query;
                        Scores::dropout_factors(dropout, line, &mut scratch.capped);
                        for (x, factor) in row.iter_mut().zip(&scratch.capped) {
                            *x *= *factor;
                        }
                    }
                }
                let left = Left::<_, false> {
                    entries: weights,
                    stride: padded_keys,
                };
                let size = product::Sizes {
                    rows: queries,
                    depth: keys,
                    columns: padded_value,
                };
                let value = &scratch.value;
                product::<E, S, false, false>(simd, size, E::ONE, left, value, &mut scratch.out);
                let out = &mut out[head * value_width..];
                unpack(&scratch.out, padded_value, value_width, out, stride);
            }
        }
    }
}
