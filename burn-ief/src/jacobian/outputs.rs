//! What the marked outputs show: the norms s_n, fitted samples, label matches.

use burn::tensor::{DType, Tensor};

use super::loss_scale::LossScaleCheck;
use crate::error::Error;
use crate::host::{ReadOf, Reads, Values};
use crate::params::widen;
use crate::record::{LabelDraw, Likelihood, OutputErrors};

/// What the marked outputs of a batch show, on the host.
pub(super) struct Outputs {
    /// s, `[M]`; `None` if no output was marked.
    pub norms: Option<Vec<f64>>,
    /// Whether each sample is fitted to the precision of the outputs, `[M]`; `None` if none was marked.
    ///
    /// Softmax probabilities and labels are at most 1, so a gradient p − y below the machine epsilon
    /// is rounding: the loss is 0 in that precision. Other outputs have no scale of their own; their
    /// gradient is compared with the output.
    pub fitted: Option<Vec<bool>>,
    /// Whether the drawn label of each copy is the true one, copy after copy, `[K * M]`; `None` if
    /// nothing was drawn.
    pub matches: Option<Vec<bool>>,
    /// Whether the drawn labels show curvature: their output gradients are not rounding next to those
    /// of the true labels. `None` if nothing was drawn.
    pub curvature: Option<bool>,
}

impl Outputs {
    /// s.
    pub fn norms(&self) -> Result<Vec<f64>, Error> {
        let norms = self.norms.clone().ok_or(Error::NoOutput)?;
        let bad: Vec<usize> = (0..norms.len())
            .filter(|&n| !norms[n].is_finite())
            .collect();
        if bad.is_empty() {
            Ok(norms)
        } else {
            Err(Error::NonFinite {
                what: "output gradients",
                samples: bad,
            })
        }
    }
}

/// Marked outputs whose facts are being read.
pub(super) struct PendingOutputs {
    marks: Vec<PendingMark>,
    samples: usize,
    copies: usize,
}

struct PendingMark {
    positions: usize,
    epsilon: f64,
    /// `[M]`
    squares: ReadOf,
    /// Squared outputs `[M]`, where the size of a gradient is measured by them.
    sizes: Option<ReadOf>,
    drawn: Option<PendingDraw>,
    scale: Option<LossScaleCheck>,
}

/// Facts about drawn labels: squared sizes of their gradients, and how far those are from the
/// gradients of the true labels, `[K * M]`.
struct PendingDraw {
    sizes: ReadOf,
    distances: ReadOf,
    /// Relative and absolute rounding errors.
    rounding: (f64, f64),
    /// What the gradients were multiplied with.
    factor: f64,
}

impl PendingOutputs {
    /// Ask for what the marks of `samples` rows show. The loss scale is checked if it is declared.
    pub fn new(
        marks: Vec<OutputErrors>,
        samples: usize,
        labels: Option<&LabelDraw>,
        declared: Option<f64>,
        reads: &mut Reads,
    ) -> Self {
        let copies = labels.map_or(0, LabelDraw::copies);
        // Each of several draws is scaled by 1/√count.
        let factor = match labels {
            Some(LabelDraw::Sample { count, .. }) => (*count as f64).sqrt(),
            _ => 1.0,
        };
        let marks = marks.into_iter().map(|mark| {
            let [_, positions, classes] = mark.value.dims();
            let squares = reads.float(row_squares(mark.error.clone()));
            let sizes = match mark.likelihood {
                Likelihood::Categorical => None,
                Likelihood::Gaussian => {
                    let value = mark.value.clone().reshape([samples, positions * classes]);
                    Some(reads.float(row_squares(value)))
                }
            };
            let truth = mark.error.clone();
            let drawn = mark.drawn.map(|drawn| {
                let rounding = machine_epsilon(drawn.dtype());
                let drawn = widen(drawn) * factor;
                PendingDraw {
                    sizes: reads.float(row_squares(drawn.clone())),
                    distances: reads.float(row_squares(drawn - truth.repeat_dim(0, copies))),
                    rounding: (1e-4f64.max(16.0 * rounding), 1e-6f64.max(8.0 * rounding)),
                    factor,
                }
            });
            let scale = declared
                .filter(|_| mark.likelihood == Likelihood::Categorical)
                .and_then(|declared| {
                    LossScaleCheck::new(&mark.value, &mark.error, declared, reads)
                });
            PendingMark {
                positions,
                epsilon: machine_epsilon(mark.error.dtype()),
                squares,
                sizes,
                drawn,
                scale,
            }
        });
        Self {
            marks: marks.collect(),
            samples,
            copies,
        }
    }

    /// What was read.
    ///
    /// # Errors
    ///
    /// [`Error::LossScale`], see [`loss_scale`](super::loss_scale).
    pub fn finish(self, values: &Values) -> Result<Outputs, Error> {
        let marked = !self.marks.is_empty();
        let mut norms = vec![0.0; self.samples];
        let mut fitted = vec![true; self.samples];
        let mut matches = vec![true; self.copies * self.samples];
        let (mut drawn_size, mut true_size) = (0.0, 0.0);
        let draws = self.copies > 0 && self.marks.iter().all(|mark| mark.drawn.is_some());
        for mark in self.marks {
            if let Some(check) = mark.scale {
                check.finish(values)?;
            }
            let squares = values.float(mark.squares);
            let sizes = match mark.sizes {
                Some(sizes) => values.float(sizes),
                None => vec![mark.positions as f64; self.samples],
            };
            for (n, (square, size)) in squares.into_iter().zip(sizes).enumerate() {
                norms[n] += square;
                fitted[n] &= square <= mark.epsilon * mark.epsilon * size;
                true_size += mark.epsilon * square;
            }
            if let Some(drawn) = mark.drawn {
                let (relative, absolute) = drawn.rounding;
                let sizes = values.float(drawn.sizes).into_iter();
                let distances = values.float(drawn.distances);
                for ((same, size), distance) in matches.iter_mut().zip(sizes).zip(distances) {
                    // Gradients for different labels differ by √2 or more. The rounding error is
                    // relative, or absolute where p − onehot(y) cancels; it is that of the type in
                    // which the model computes.
                    *same &= distance.sqrt() <= relative * size.sqrt() + absolute;
                    drawn_size += size / (drawn.factor * drawn.factor);
                }
            }
        }
        Ok(Outputs {
            norms: marked.then_some(norms),
            fitted: marked.then_some(fitted),
            matches: draws.then_some(matches),
            curvature: (draws && marked).then_some(drawn_size > true_size),
        })
    }
}

fn machine_epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => 9.765_625e-4,
        DType::BF16 => 7.812_5e-3,
        _ => f64::from(f32::EPSILON),
    }
}

pub(super) fn row_squares(x: Tensor<2>) -> Tensor<1> {
    x.square().sum_dim(1).squeeze_dim(1)
}
