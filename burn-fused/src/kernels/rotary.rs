//! Rotations of pairs of entries, by angles that depend on the position.

use burn::backend::flex::FlexTensor;

use super::extension::{Keeps, Kernel, Operation};
use super::memory::{dense, each_chunk, entries, overwrite, rows_chunk, shape, tensor, wide};
use super::real::Real;

/// Rotates `[M, T, heads * width]`.
#[derive(Debug)]
pub(crate) struct Rotary {
    pub heads: usize,
    /// Whether a pair is two neighbours, or half the width apart.
    pub neighbours: bool,
    /// Cosines and sines, `[M or 1, T, width / 2]`.
    pub cos: FlexTensor,
    pub sin: FlexTensor,
}

impl Rotary {
    pub fn kernel(self) -> Kernel {
        Kernel::new(self)
    }

    /// Rotate the rows of `x` by the angles, or back.
    fn turn<E: Real>(&self, x: &mut [E], width: usize, back: bool) {
        let [cos, sin] = [dense(&self.cos), dense(&self.sin)];
        let pairs = super::memory::width(&cos);
        let (cos, sin) = (entries::<E>(&cos), entries::<E>(&sin));
        let sign = if back { -E::ONE } else { E::ONE };
        let head = width / self.heads;
        each_chunk(x, rows_chunk(width), |start, x| {
            wide(
                #[inline(always)]
                || {
                    for (at, row) in x.chunks_exact_mut(width).enumerate() {
                        // One row of angles for each row, or the same ones for every sample.
                        let angle = (start / width + at) * pairs % cos.len();
                        let (cos, sin) = (&cos[angle..][..pairs], &sin[angle..][..pairs]);
                        for x in row.chunks_exact_mut(head) {
                            if self.neighbours {
                                neighbours(x, cos, sin, sign);
                            } else {
                                halves(x, cos, sin, sign);
                            }
                        }
                    }
                },
            );
        });
    }
}

#[inline(always)]
fn halves<E: Real>(x: &mut [E], cos: &[E], sin: &[E], sign: E) {
    let (first, second) = x.split_at_mut(cos.len());
    let (second, sin) = (&mut second[..cos.len()], &sin[..cos.len()]);
    for i in 0..cos.len() {
        let (a, b) = (first[i], second[i]);
        let s = sign * sin[i];
        first[i] = a * cos[i] - b * s;
        second[i] = b * cos[i] + a * s;
    }
}

#[inline(always)]
fn neighbours<E: Real>(x: &mut [E], cos: &[E], sin: &[E], sign: E) {
    let (pairs, _) = x.as_chunks_mut::<2>();
    let (pairs, sin) = (&mut pairs[..cos.len()], &sin[..cos.len()]);
    for i in 0..cos.len() {
        let [a, b] = pairs[i];
        let s = sign * sin[i];
        pairs[i] = [a * cos[i] - b * s, b * cos[i] + a * s];
    }
}

impl Operation for Rotary {
    fn keeps(&self, _needed: &[bool]) -> Keeps {
        Keeps::Nothing
    }

    fn forward<E: Real>(&self, inputs: &[FlexTensor]) -> FlexTensor {
        let x = dense(&inputs[0]);
        let width = super::memory::width(&x);
        let mut y = entries::<E>(&x).to_vec();
        self.turn(&mut y, width, false);
        tensor(y, shape(&x))
    }

    fn backward<E: Real>(
        &self,
        _kept: &[FlexTensor],
        error: FlexTensor,
        _needed: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let width = super::memory::width(&error);
        vec![Some(overwrite::<E>(error, |error| {
            self.turn(error, width, true);
        }))]
    }
}
