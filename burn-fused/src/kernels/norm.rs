//! Layer norm and RMS norm, row by row.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::extension::{Keeps, Kernel, Operation};
use super::memory::{dense, each_chunk, entries, overwrite, shape, tensor, wide, zeros};
use super::real::Real;
use super::reduce::{sum_of, sum_of_two};

/// Rows of a chunk. Gradients of the scale and the shift are summed over the rows of a chunk, then
/// over chunks, so the result does not depend on the number of threads.
const ROWS: usize = 32;

/// `(x - mean) / √(variance + ε) ∘ γ + β`, or without the mean. The inputs are x, γ and perhaps β.
#[derive(Debug)]
pub(crate) struct Norm {
    /// Whether the mean is subtracted.
    pub centred: bool,
    pub epsilon: f64,
}

impl Norm {
    pub fn kernel(self) -> Kernel {
        Kernel::new(self)
    }

    /// Mean and `√(variance + ε)` of a row.
    #[inline(always)]
    fn moments<E: Real>(&self, x: &[E]) -> (E, E) {
        let count = E::of(x.len() as f64);
        let mean = if self.centred {
            sum_of(x, |x| x) / count
        } else {
            E::ZERO
        };
        let squares = sum_of(x, |x| (x - mean) * (x - mean));
        (mean, (squares / count + E::of(self.epsilon)).sqrt())
    }

    #[inline(always)]
    fn rows<E: Real>(&self, x: &[E], gamma: &[E], beta: Option<&[E]>, y: &mut [E]) {
        let width = gamma.len();
        // One length for all: the loops need no checks and become vectors.
        let beta = beta.map(|beta| &beta[..width]);
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            let (mean, deviation) = self.moments(x);
            match beta {
                Some(beta) => {
                    for i in 0..width {
                        y[i] = (x[i] - mean) / deviation * gamma[i] + beta[i];
                    }
                }
                None => {
                    for i in 0..width {
                        y[i] = (x[i] - mean) / deviation * gamma[i];
                    }
                }
            }
        }
    }

    /// Replace the errors of some rows by the gradients of x, and add to those of γ and β.
    #[inline(always)]
    fn rows_backward<E: Real>(
        &self,
        x: &[E],
        gamma: &[E],
        error: &mut [E],
        of_gamma: &mut [E],
        of_beta: &mut [E],
    ) {
        let width = gamma.len();
        let count = E::of(width as f64);
        for (x, error) in x.chunks_exact(width).zip(error.chunks_exact_mut(width)) {
            let (mean, deviation) = self.moments(x);
            let inverse = E::ONE / deviation;
            if let Some(of_gamma) = of_gamma.get_mut(..width) {
                for i in 0..width {
                    of_gamma[i] += error[i] * ((x[i] - mean) * inverse);
                }
            }
            if let Some(of_beta) = of_beta.get_mut(..width) {
                for i in 0..width {
                    of_beta[i] += error[i];
                }
            }
            for i in 0..width {
                error[i] *= gamma[i];
            }
            let along = sum_of_two(error, x, |error, x| error * ((x - mean) * inverse)) / count;
            let shift = if self.centred {
                sum_of(error, |error| error) / count
            } else {
                E::ZERO
            };
            for i in 0..width {
                error[i] = inverse * (error[i] - shift - (x[i] - mean) * inverse * along);
            }
        }
    }
}

impl Operation for Norm {
    fn keeps(&self, _needed: &[bool]) -> Keeps {
        Keeps::Inputs
    }

    fn forward<E: Real>(&self, inputs: &[FlexTensor]) -> FlexTensor {
        let inputs: Vec<_> = inputs.iter().map(dense).collect();
        let (x, gamma) = (entries::<E>(&inputs[0]), entries::<E>(&inputs[1]));
        let beta = inputs.get(2).map(entries::<E>);
        let mut y = zeros::<E>(x.len());
        each_chunk(&mut y, ROWS * gamma.len(), |start, y| {
            let x = &x[start..][..y.len()];
            wide(
                #[inline(always)]
                || self.rows(x, gamma, beta, y),
            );
        });
        tensor(y, shape(&inputs[0]))
    }

    fn backward<E: Real>(
        &self,
        kept: &[FlexTensor],
        error: FlexTensor,
        needed: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [x, gamma] = [dense(&kept[0]), dense(&kept[1])];
        let (x, gamma) = (entries::<E>(&x), entries::<E>(&gamma));
        let width = gamma.len();
        // No entries for what is not needed.
        let needed = |at: usize| needed.get(at).copied().unwrap_or(false);
        let [wide_gamma, wide_beta] = [1, 2].map(|at| if needed(at) { width } else { 0 });
        let sums = || (vec![E::ZERO; wide_gamma], vec![E::ZERO; wide_beta]);
        let mut parts = Vec::new();
        let of_x = overwrite::<E>(error, |error| {
            let chunks = error.par_chunks_mut(ROWS * width);
            let chunks = chunks.zip(x.par_chunks(ROWS * width));
            let all = chunks.map(|(error, x)| {
                let (mut of_gamma, mut of_beta) = sums();
                wide(
                    #[inline(always)]
                    || self.rows_backward(x, gamma, error, &mut of_gamma, &mut of_beta),
                );
                (of_gamma, of_beta)
            });
            parts = all.collect();
        });
        let (mut of_gamma, mut of_beta) = sums();
        for (part_gamma, part_beta) in parts {
            add(&mut of_gamma, &part_gamma);
            add(&mut of_beta, &part_beta);
        }
        let vector = |sums: Vec<E>| (!sums.is_empty()).then(|| tensor(sums, vec![width]));
        vec![Some(of_x), vector(of_gamma), vector(of_beta)]
    }
}

fn add<E: Real>(sums: &mut [E], part: &[E]) {
    for (sum, part) in sums.iter_mut().zip(part) {
        *sum += *part;
    }
}
