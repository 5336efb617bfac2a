//! What the marked outputs show: the norms s_n, fitted samples, label matches.

use burn::tensor::DType;

use super::loss_scale::{LossScaleCheck, check_token_weights, row_squares};
use crate::error::Error;
use crate::host::{ReadOf, Reads, Values};
use crate::params::widen;
use crate::record::{IndexCheck, LabelDraw, Likelihood, OutputErrors, TokenErrors, WholeErrors};

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

/// Read everything but the rows of a recording, in one read: whether indices are in range, and the
/// gradients at the marked outputs.
pub(super) fn read_facts(
    checks: Vec<IndexCheck>,
    marks: Vec<OutputErrors>,
    samples: usize,
    labels: Option<&LabelDraw>,
    declared_scale: Option<f64>,
) -> Result<Outputs, Error> {
    let mut reads = Reads::default();
    let checks = checks.into_iter().map(|check| {
        let bounds = reads.int(check.bounds.clone());
        (check, bounds)
    });
    let checks: Vec<_> = checks.collect();
    let outputs = PendingOutputs::new(marks, samples, labels, declared_scale, &mut reads);
    let values = reads.execute()?;
    for (check, bounds) in checks {
        check.check(&values.int(bounds))?;
    }
    outputs.finish(&values)
}

/// Marked outputs whose facts are being read.
pub(super) struct PendingOutputs {
    marks: Vec<PendingMark>,
    samples: usize,
    copies: usize,
}

#[expect(
    clippy::large_enum_variant,
    reason = "there are few marks in a recording, so the size does not matter"
)]
enum PendingMark {
    Whole(PendingWhole),
    Tokens(PendingTokens),
}

/// Of an output that was there as a whole.
struct PendingWhole {
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

/// Of a loss over tokens.
struct PendingTokens {
    /// ∂loss/∂l_n over the declared scale, and the squared errors, `[M]`.
    weights: ReadOf,
    squares: ReadOf,
    tokens: Vec<usize>,
    positions: usize,
    epsilon: f64,
    /// Squared sizes of the drawn errors, and the number of tokens that differ, `[K * M]`.
    drawn: Option<(ReadOf, ReadOf)>,
    declared: Option<f64>,
}

/// What the marks that were read so far show.
struct Sums {
    norms: Vec<f64>,
    fitted: Vec<bool>,
    matches: Vec<bool>,
    drawn_size: f64,
    true_size: f64,
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
        let marks = marks.into_iter().map(|mark| match mark {
            OutputErrors::Whole(mark) => {
                PendingMark::Whole(PendingWhole::new(mark, samples, labels, declared, reads))
            }
            OutputErrors::Tokens(mark) => {
                PendingMark::Tokens(PendingTokens::new(mark, declared, reads))
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
        let mut sums = Sums {
            norms: vec![0.0; self.samples],
            fitted: vec![true; self.samples],
            matches: vec![true; self.copies * self.samples],
            drawn_size: 0.0,
            true_size: 0.0,
        };
        let draws = self.copies > 0
            && self.marks.iter().all(|mark| match mark {
                PendingMark::Whole(mark) => mark.drawn.is_some(),
                PendingMark::Tokens(mark) => mark.drawn.is_some(),
            });
        for mark in self.marks {
            match mark {
                PendingMark::Whole(mark) => mark.add(values, &mut sums)?,
                PendingMark::Tokens(mark) => mark.add(values, &mut sums)?,
            }
        }
        Ok(Outputs {
            norms: marked.then_some(sums.norms),
            fitted: marked.then_some(sums.fitted),
            matches: draws.then_some(sums.matches),
            curvature: (draws && marked).then_some(sums.drawn_size > sums.true_size),
        })
    }
}

impl PendingWhole {
    fn new(
        mark: WholeErrors,
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
        let [_, positions, classes] = mark.value.dims();
        let squares = reads.float(row_squares(mark.error.clone()));
        let sizes = match mark.likelihood {
            // Gradients of labels that are drawn are of size 1.
            Likelihood::Categorical | Likelihood::Bernoulli => None,
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
            .and_then(|declared| LossScaleCheck::new(&mark.value, &mark.error, declared, reads));
        Self {
            positions,
            epsilon: machine_epsilon(mark.error.dtype()),
            squares,
            sizes,
            drawn,
            scale,
        }
    }

    fn add(self, values: &Values, sums: &mut Sums) -> Result<(), Error> {
        if let Some(check) = self.scale {
            check.finish(values)?;
        }
        let squares = values.float(self.squares);
        let sizes = match self.sizes {
            Some(sizes) => values.float(sizes),
            None => vec![self.positions as f64; squares.len()],
        };
        for (n, (square, size)) in squares.into_iter().zip(sizes).enumerate() {
            sums.norms[n] += square;
            sums.fitted[n] &= square <= self.epsilon * self.epsilon * size;
            sums.true_size += self.epsilon * square;
        }
        if let Some(drawn) = self.drawn {
            let (relative, absolute) = drawn.rounding;
            let sizes = values.float(drawn.sizes).into_iter();
            let distances = values.float(drawn.distances);
            for ((same, size), distance) in sums.matches.iter_mut().zip(sizes).zip(distances) {
                // Gradients for different labels differ by 1 or more. The rounding error is
                // relative, or absolute where p − onehot(y) cancels; it is that of the type in
                // which the model computes.
                *same &= distance.sqrt() <= relative * size.sqrt() + absolute;
                sums.drawn_size += size / (drawn.factor * drawn.factor);
            }
        }
        Ok(())
    }
}

impl PendingTokens {
    fn new(mark: TokenErrors, declared: Option<f64>, reads: &mut Reads) -> Self {
        let facts = mark.facts;
        Self {
            epsilon: machine_epsilon(facts.squares.dtype()),
            weights: reads.float(mark.weights),
            squares: reads.float(facts.squares),
            tokens: facts.tokens,
            positions: facts.positions,
            drawn: facts
                .drawn
                .map(|drawn| (reads.float(drawn.squares), reads.float(drawn.differ))),
            declared,
        }
    }

    fn add(self, values: &Values, sums: &mut Sums) -> Result<(), Error> {
        let (weights, squares) = (values.float(self.weights), values.float(self.squares));
        if let Some(declared) = self.declared {
            check_token_weights(&weights, &squares, &self.tokens, self.positions, declared)?;
        }
        for (n, (weight, square)) in weights.into_iter().zip(squares).enumerate() {
            let square = weight * weight * square;
            sums.norms[n] += square;
            sums.fitted[n] &= square <= self.epsilon * self.epsilon * self.tokens[n] as f64;
            sums.true_size += self.epsilon * square;
        }
        if let Some((sizes, differ)) = self.drawn {
            let differ = values.float(differ);
            for (same, differ) in sums.matches.iter_mut().zip(differ) {
                *same &= differ == 0.0;
            }
            sums.drawn_size += values.float(sizes).into_iter().sum::<f64>();
        }
        Ok(())
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
