//! Softmax and its logarithm along the last axis, and the cross-entropy.

use burn::backend::flex::FlexTensor;

use super::extension::{Keeps, Kernel, Operation};
use super::memory::{
    dense, each_chunk, entries, overwrite, rows_chunk, shape, tensor, wide, width, zeros,
};
use super::real::Real;
use super::reduce::{exp_and_sum, max, sum_of, sum_of_two};

/// `exp(x) / Σ exp(x)`, or the logarithm.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Softmax {
    Plain,
    Log,
}

impl Softmax {
    pub fn kernel(self) -> Kernel {
        Kernel::new(self)
    }

    #[inline(always)]
    fn row<E: Real>(self, x: &[E], y: &mut [E]) {
        y.copy_from_slice(x);
        let max = max(x);
        let sum = exp_and_sum(y, max);
        match self {
            Self::Plain => {
                for y in y {
                    *y = *y / sum;
                }
            }
            Self::Log => {
                let log = sum.ln();
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = x - max - log;
                }
            }
        }
    }

    #[inline(always)]
    fn row_backward<E: Real>(self, y: &[E], error: &mut [E]) {
        match self {
            Self::Plain => {
                let mean = sum_of_two(y, error, |y, error| y * error);
                for (error, &y) in error.iter_mut().zip(y) {
                    *error = y * (*error - mean);
                }
            }
            Self::Log => {
                let sum = sum_of(error, |error| error);
                for (error, &y) in error.iter_mut().zip(y) {
                    *error = *error - y.exp_down() * sum;
                }
            }
        }
    }
}

impl Operation for Softmax {
    fn keeps(&self, _needed: &[bool]) -> Keeps {
        Keeps::Output
    }

    fn forward<E: Real>(&self, inputs: &[FlexTensor]) -> FlexTensor {
        let x = dense(&inputs[0]);
        let width = width(&x);
        let x = entries::<E>(&x);
        let mut y = zeros::<E>(x.len());
        each_chunk(&mut y, rows_chunk(width), |start, y| {
            let x = &x[start..][..y.len()];
            wide(
                #[inline(always)]
                || {
                    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                        self.row(x, y);
                    }
                },
            );
        });
        tensor(y, shape(&inputs[0]))
    }

    fn backward<E: Real>(
        &self,
        kept: &[FlexTensor],
        error: FlexTensor,
        _needed: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let width = width(&kept[0]);
        let y = dense(&kept[0]);
        let y = entries::<E>(&y);
        let gradient = overwrite::<E>(error, |error| {
            each_chunk(error, rows_chunk(width), |start, error| {
                let y = &y[start..][..error.len()];
                wide(
                    #[inline(always)]
                    || {
                        let rows = error.chunks_exact_mut(width);
                        for (error, y) in rows.zip(y.chunks_exact(width)) {
                            self.row_backward(y, error);
                        }
                    },
                );
            });
        });
        vec![Some(gradient)]
    }
}

/// `log Σ exp(x) - x[target]` of every row of `[N, C]`, and zero for rows without a target.
#[derive(Debug)]
pub(crate) struct CrossEntropy {
    pub targets: Vec<Option<usize>>,
}

impl CrossEntropy {
    pub fn kernel(self) -> Kernel {
        Kernel::new(self)
    }
}

impl Operation for CrossEntropy {
    fn keeps(&self, _needed: &[bool]) -> Keeps {
        Keeps::Inputs
    }

    fn forward<E: Real>(&self, inputs: &[FlexTensor]) -> FlexTensor {
        let x = dense(&inputs[0]);
        let width = width(&x);
        let x = entries::<E>(&x);
        let mut losses = vec![E::ZERO; self.targets.len()];
        each_chunk(&mut losses, rows_chunk(width) / width, |start, losses| {
            wide(
                #[inline(always)]
                || {
                    let mut row = vec![E::ZERO; width];
                    for (at, loss) in losses.iter_mut().enumerate() {
                        let Some(target) = self.targets[start + at] else {
                            continue;
                        };
                        row.copy_from_slice(&x[(start + at) * width..][..width]);
                        let aim = row[target];
                        let max = max(&row);
                        *loss = exp_and_sum(&mut row, max).ln() + (max - aim);
                    }
                },
            );
        });
        tensor(losses, vec![self.targets.len()])
    }

    fn backward<E: Real>(
        &self,
        kept: &[FlexTensor],
        error: FlexTensor,
        _needed: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let x = dense(&kept[0]);
        let width = width(&x);
        let x = entries::<E>(&x);
        let error = dense(&error);
        let error = entries::<E>(&error);
        let mut gradient = zeros::<E>(x.len());
        each_chunk(&mut gradient, rows_chunk(width), |start, gradient| {
            wide(
                #[inline(always)]
                || {
                    for (at, row) in gradient.chunks_exact_mut(width).enumerate() {
                        let at = start / width + at;
                        let Some(target) = self.targets[at] else {
                            continue;
                        };
                        row.copy_from_slice(&x[at * width..][..width]);
                        let max = max(row);
                        let factor = error[at] / exp_and_sum(row, max);
                        for entry in row.iter_mut() {
                            *entry *= factor;
                        }
                        row[target] += -error[at];
                    }
                },
            );
        });
        vec![Some(tensor(gradient, shape(&kept[0])))]
    }
}
