//! Activations, entry by entry.

use burn::backend::flex::FlexTensor;

use super::extension::{Keeps, Kernel, Operation};
use super::memory::{CHUNK, dense, each_chunk, entries, overwrite, shape, tensor, wide, zeros};
use super::real::Real;

/// An activation of one tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Activation {
    Gelu,
    GeluApproximate,
    Silu,
}

impl Activation {
    pub fn kernel(self) -> Kernel {
        Kernel::new(self)
    }
}

impl Operation for Activation {
    fn keeps(&self, _needed: &[bool]) -> Keeps {
        Keeps::Inputs
    }

    fn forward<E: Real>(&self, inputs: &[FlexTensor]) -> FlexTensor {
        let x = dense(&inputs[0]);
        let x = entries::<E>(&x);
        let mut y = zeros::<E>(x.len());
        each_chunk(&mut y, CHUNK, |start, y| {
            let x = &x[start..][..y.len()];
            wide(
                #[inline(always)]
                || match self {
                    Self::Gelu => map(x, y, gelu),
                    Self::GeluApproximate => map(x, y, gelu_approximate),
                    Self::Silu => map(x, y, silu),
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
        let x = dense(&kept[0]);
        let x = entries::<E>(&x);
        let gradient = overwrite::<E>(error, |error| {
            each_chunk(error, CHUNK, |start, error| {
                let x = &x[start..][..error.len()];
                wide(
                    #[inline(always)]
                    || match self {
                        Self::Gelu => scale(x, error, gelu_slope),
                        Self::GeluApproximate => scale(x, error, gelu_approximate_slope),
                        Self::Silu => scale(x, error, silu_slope),
                    },
                );
            });
        });
        vec![Some(gradient)]
    }
}

#[inline(always)]
fn map<E: Real>(x: &[E], y: &mut [E], f: impl Fn(E) -> E) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

/// Multiply the error by a slope.
#[inline(always)]
fn scale<E: Real>(x: &[E], error: &mut [E], slope: impl Fn(E) -> E) {
    for (error, &x) in error.iter_mut().zip(x) {
        *error *= slope(x);
    }
}

/// `x Φ(x)`.
#[inline(always)]
fn gelu<E: Real>(x: E) -> E {
    x * x.normal().0
}

/// `Φ(x) + x φ(x)`.
#[inline(always)]
fn gelu_slope<E: Real>(x: E) -> E {
    let (cdf, e) = x.normal();
    cdf + x * (E::of(0.398_942_280_401_432_7) * e)
}

/// `1 / (1 + exp(-x))` and its slope, without overflow.
#[inline(always)]
fn sigmoid<E: Real>(x: E) -> (E, E) {
    let e = (-x.abs()).exp_down();
    let near = E::ONE / (E::ONE + e);
    let far = e * near;
    (if x < E::ZERO { far } else { near }, far * near)
}

/// `2 √(2/π)` and the factor of the cube.
const OUTER: f64 = 1.595_769_121_605_730_8;
const CUBE: f64 = 0.044_715;

/// `x/2 (1 + tanh u) = x σ(2u)` with `u = √(2/π) (x + 0.044715 x³)`.
#[inline(always)]
fn gelu_approximate<E: Real>(x: E) -> E {
    let u = E::of(OUTER) * (x + E::of(CUBE) * (x * x * x));
    x * sigmoid(u).0
}

#[inline(always)]
fn gelu_approximate_slope<E: Real>(x: E) -> E {
    let square = x * x;
    let u = E::of(OUTER) * (x + E::of(CUBE) * (square * x));
    let (sigma, slope) = sigmoid(u);
    let inner = E::of(OUTER) * (E::ONE + E::of(3.0 * CUBE) * square);
    // Where the sigmoid is flat, the square may overflow.
    let bell = if slope == E::ZERO {
        E::ZERO
    } else {
        x * slope * inner
    };
    sigma + bell
}

/// `x σ(x)`.
#[inline(always)]
fn silu<E: Real>(x: E) -> E {
    x * sigmoid(x).0
}

#[inline(always)]
fn silu_slope<E: Real>(x: E) -> E {
    let (sigma, slope) = sigmoid(x);
    sigma + x * slope
}

/// `silu(gate) ∘ up`.
#[derive(Debug)]
pub(crate) struct SwiGlu;

impl SwiGlu {
    pub fn kernel(self) -> Kernel {
        Kernel::new(self)
    }
}

impl Operation for SwiGlu {
    fn keeps(&self, _needed: &[bool]) -> Keeps {
        Keeps::Inputs
    }

    fn forward<E: Real>(&self, inputs: &[FlexTensor]) -> FlexTensor {
        let [gate, up] = [dense(&inputs[0]), dense(&inputs[1])];
        let (gate, up) = (entries::<E>(&gate), entries::<E>(&up));
        let mut y = zeros::<E>(gate.len());
        each_chunk(&mut y, CHUNK, |start, y| {
            let (gate, up) = (&gate[start..][..y.len()], &up[start..][..y.len()]);
            wide(
                #[inline(always)]
                || {
                    for ((y, &gate), &up) in y.iter_mut().zip(gate).zip(up) {
                        *y = silu(gate) * up;
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
        needed: &[bool],
    ) -> Vec<Option<FlexTensor>> {
        let [gate, up] = [dense(&kept[0]), dense(&kept[1])];
        let (gate, up) = (entries::<E>(&gate), entries::<E>(&up));
        let of_up = needed[1].then(|| {
            let error = dense(&error);
            let error = entries::<E>(&error);
            let mut of_up = zeros::<E>(gate.len());
            each_chunk(&mut of_up, CHUNK, |start, out| {
                let (gate, error) = (&gate[start..][..out.len()], &error[start..][..out.len()]);
                wide(
                    #[inline(always)]
                    || {
                        for ((out, &gate), &error) in out.iter_mut().zip(gate).zip(error) {
                            *out = error * silu(gate);
                        }
                    },
                );
            });
            tensor(of_up, shape(&kept[1]))
        });
        let of_gate = needed[0].then(|| {
            overwrite::<E>(error, |error| {
                each_chunk(error, CHUNK, |start, error| {
                    let range = start..start + error.len();
                    let (gate, up) = (&gate[range.clone()], &up[range]);
                    wide(
                        #[inline(always)]
                        || {
                            for ((error, &gate), &up) in error.iter_mut().zip(gate).zip(up) {
                                *error *= up * silu_slope(gate);
                            }
                        },
                    );
                });
            })
        });
        vec![of_gate, of_up]
    }
}
