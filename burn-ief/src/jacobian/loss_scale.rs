//! A check of the declared loss scale, by the form of softmax cross-entropy.
//!
//! For plain softmax cross-entropy, an output gradient divided by the declared scale is
//! r (softmax(z) − onehot(y)), and r is 1 if the declaration is right. A sum instead of a mean, or a
//! mean over tokens instead of samples, shows as the same r ≠ 1 in every row.
//!
//! Legitimate losses can look the same. While the logits are small, softmax is uniform, and label
//! smoothing, a temperature or a focal loss differ from a scaled cross-entropy only by rounding. A few
//! classes may share a class weight. So the step is refused only if r is exactly what a sum or a mean
//! would give, and nothing else explains it. Otherwise a note is logged, once.

use std::collections::BTreeSet;
use std::sync::Once;

use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor};

use crate::error::Error;
use crate::host::{ReadOf, Reads, Values, to_host};
use crate::record::one_hot;

/// Most entries of an output that the check reads.
const CHECKED: usize = 1 << 18;
/// Positions that it reads however many classes there are.
const FEWEST: usize = 16;
/// Number of different labels that have to show the same scale, unless there are fewer classes. A few
/// classes may happen to share a class weight other than 1.
const ENOUGH: usize = 4;
/// Ratios within these bounds need evidence against other losses: smoothing gives 0.5 to 1,
/// temperatures and focal losses 0.1 to 4. Outside, no loss is likely to give exactly 1 over the number
/// of samples.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.1..=4.0;

/// Largest output whose entries are read. A larger one is reduced to a few numbers per row on the
/// device, which takes more kernels.
const FEW: usize = 1 << 12;

/// A check whose facts are being read.
pub(super) struct LossScaleCheck {
    /// The outputs and errors that are checked, a row per position.
    value: Tensor<2>,
    error: Tensor<2>,
    facts: PendingFacts,
    /// The error at every position.
    all: Tensor<2>,
    samples: usize,
    declared: f64,
}

/// What is read of the rows.
enum PendingFacts {
    Entries {
        value: ReadOf,
        error: ReadOf,
    },
    Sums {
        labels: ReadOf,
        overlap: ReadOf,
        closed: ReadOf,
        error: ReadOf,
    },
}

/// A row of the error next to the closed form softmax(z) − onehot(y).
struct RowFacts {
    /// The true class.
    label: i64,
    /// Inner product of the two.
    overlap: f64,
    /// Squared lengths.
    closed: f64,
    error: f64,
}

impl LossScaleCheck {
    /// Check the output gradients `error [M, T * C]` (divided by the declared scale) of the output
    /// `value [M, T, C]`; `None` if they show nothing.
    pub fn new(
        value: &Tensor<3>,
        error: &Tensor<2>,
        declared: f64,
        reads: &mut Reads,
    ) -> Option<Self> {
        let [samples, positions, classes] = value.dims();
        if classes < 2 {
            return None;
        }
        let count = (CHECKED / classes).max(FEWEST).min(samples * positions);
        let all = error.clone().reshape([samples * positions, classes]);
        let value = value.clone().reshape([samples * positions, classes]);
        let value = value.narrow(0, 0, count);
        let error = all.clone().narrow(0, 0, count);
        let facts = if count * classes <= FEW {
            PendingFacts::Entries {
                value: reads.float(value.clone()),
                error: reads.float(error.clone()),
            }
        } else {
            let rows = Rows::new(value.clone(), error.clone());
            PendingFacts::Sums {
                labels: reads.int(rows.labels),
                overlap: reads.float((rows.error.clone() * rows.closed.clone()).sum_dim(1)),
                closed: reads.float(row_squares(rows.closed)),
                error: reads.float(row_squares(rows.error)),
            }
        };
        Some(Self {
            value,
            error,
            facts,
            all,
            samples,
            declared,
        })
    }

    /// Judge what was read.
    ///
    /// # Errors
    ///
    /// [`Error::LossScale`]
    pub fn finish(self, values: &Values) -> Result<(), Error> {
        let Some(ratio) = self.common_ratio(values) else {
            return Ok(());
        };
        if (ratio - 1.0).abs() <= 1e-2 {
            return Ok(());
        }
        let (declared, found) = (self.declared, self.declared * ratio);
        let [positions, _] = self.all.dims();
        // Reads again, because this is rare.
        let squares = to_host(row_squares(self.all));
        let used = squares.into_iter().filter(|e| *e > 0.0).count();
        let counts = [1, self.samples, used, positions];
        let is_mean = |count: usize| (found * count as f64 - 1.0).abs() < 2e-3;
        let is_mistake = counts.into_iter().any(is_mean);
        let rows = || Rows::new(self.value, self.error);
        if is_mistake && (!PLAUSIBLE.contains(&ratio) || rows().exclude_other_losses(ratio)) {
            return Err(Error::LossScale { declared, found });
        }
        note(ratio);
        Ok(())
    }

    /// The common r if all informative rows of the error are r (softmax(z) − onehot(y)), for all
    /// labels or [`ENOUGH`] of them.
    fn common_ratio(&self, values: &Values) -> Option<f64> {
        let [_, classes] = self.value.dims();
        let mut ratios = Vec::new();
        let mut seen = BTreeSet::new();
        for row in self.facts.rows(values, classes) {
            let RowFacts {
                label,
                overlap,
                closed,
                error,
            } = row;
            // Rows of well-fitted samples and of padding are near zero and show no scale.
            if closed < 1e-4 || error == 0.0 {
                continue;
            }
            let misfit = 1.0 - overlap * overlap / (closed * error);
            if !misfit.is_finite() || misfit > 1e-4 {
                return None;
            }
            ratios.push(overlap / closed);
            seen.insert(label);
        }
        let first = *ratios.first()?;
        // A few classes may happen to share a class weight.
        if seen.len() < classes.min(ENOUGH) {
            return None;
        }
        ratios
            .iter()
            .all(|ratio| (ratio / first - 1.0).abs() < 1e-3)
            .then_some(first)
    }
}

/// The same check of a loss over tokens, which is a cross-entropy by construction: `weights` are ∂loss/∂l_n
/// over the declared scale, and samples whose squared errors vanish show nothing.
///
/// # Errors
///
/// [`Error::LossScale`]
pub(super) fn check_token_weights(
    weights: &[f64],
    squares: &[f64],
    tokens: &[usize],
    positions: usize,
    declared: f64,
) -> Result<(), Error> {
    let shown = weights.iter().zip(squares);
    let ratios: Vec<f64> = shown
        .filter(|(weight, square)| **square > 0.0 && **weight > 0.0)
        .map(|(weight, _)| *weight)
        .collect();
    let Some(&ratio) = ratios.first() else {
        return Ok(());
    };
    let is_common = |other: &f64| (other / ratio - 1.0).abs() < 1e-3;
    if (ratio - 1.0).abs() <= 1e-2 || !ratios.iter().all(is_common) {
        return Ok(());
    }
    let found = declared * ratio;
    let counts = [1, weights.len(), tokens.iter().sum(), positions];
    let is_mean = |count: usize| (found * count as f64 - 1.0).abs() < 2e-3;
    if counts.into_iter().any(is_mean) {
        return Err(Error::LossScale { declared, found });
    }
    note(ratio);
    Ok(())
}

impl PendingFacts {
    fn rows(&self, values: &Values, classes: usize) -> Vec<RowFacts> {
        match *self {
            Self::Entries { value, error } => {
                let (value, error) = (values.float(value), values.float(error));
                let rows = value.chunks(classes).zip(error.chunks(classes));
                rows.map(|(value, error)| RowFacts::new(value, error))
                    .collect()
            }
            Self::Sums {
                labels,
                overlap,
                closed,
                error,
            } => {
                let labels = values.int(labels).into_iter();
                let [overlap, closed, error] =
                    [overlap, closed, error].map(|place| values.float(place));
                let sums = overlap.into_iter().zip(closed).zip(error);
                let rows = labels.zip(sums);
                rows.map(|(label, ((overlap, closed), error))| RowFacts {
                    label,
                    overlap,
                    closed,
                    error,
                })
                .collect()
            }
        }
    }
}

impl RowFacts {
    /// Of one row of an output and of its error.
    fn new(value: &[f64], error: &[f64]) -> Self {
        // Only the true class has a negative entry, because a loss scale is positive.
        let by_error = |a: &usize, b: &usize| error[*a].total_cmp(&error[*b]);
        let label = (0..error.len()).min_by(by_error).unwrap_or(0);
        let largest = value.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = value.iter().map(|z| (z - largest).exp()).collect();
        let total: f64 = powers.iter().sum();
        let mut facts = Self {
            label: label as i64,
            overlap: 0.0,
            closed: 0.0,
            error: 0.0,
        };
        for (class, (power, error)) in powers.into_iter().zip(error).enumerate() {
            let closed = power / total - f64::from(u8::from(class == label));
            facts.overlap += closed * error;
            facts.closed += closed * closed;
            facts.error += error * error;
        }
        facts
    }
}

/// Say once that the scale may be wrong.
fn note(ratio: f64) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::warn!(
            "the gradients at the marked output are {ratio:.4} times those of softmax cross-entropy. \
             If the loss is scaled (by a weight, or another reduction than the declared one), declare \
             it with `LossScale`. Label smoothing, a temperature or a focal loss look like this too; \
             then nothing has to be done. This is logged once."
        );
    });
}

/// The positions of an output, one row each.
struct Rows {
    p: Tensor<2>,
    /// softmax(z) − onehot(y)
    closed: Tensor<2>,
    error: Tensor<2>,
    /// The true class of each row, by its gradient.
    labels: Tensor<1, Int>,
}

impl Rows {
    fn new(z: Tensor<2>, error: Tensor<2>) -> Self {
        let [_, classes] = z.dims();
        // Only the true class has a negative entry, because a loss scale is positive.
        let labels: Tensor<1, Int> = error.clone().argmin(1).squeeze_dim(1);
        let p = softmax(z, 1);
        let onehot = one_hot(labels.clone(), classes).cast(error.dtype());
        let closed = p.clone() - onehot;
        Self {
            p,
            closed,
            error,
            labels,
        }
    }

    /// Whether the rows are r times those of cross-entropy so exactly that smoothing, a temperature or
    /// a focal loss would show.
    ///
    /// Smoothing by ε = 1 − r adds ε (p − 1/C) to a row, and a temperature changes it by about as
    /// much. A focal loss gives rows of different p other ratios.
    fn exclude_other_losses(&self, ratio: f64) -> bool {
        let [_, classes] = self.p.dims();
        let sum = |x: Tensor<2>| to_host(x.square().sum())[0];
        let residual = sum(self.error.clone() - self.closed.clone() * ratio);
        let uneven = sum(self.p.clone() - 1.0 / classes as f64);
        let size = sum(self.error.clone());
        let shift = if ratio < 1.0 {
            ratio.min(1.0 - ratio)
        } else {
            (ratio - 1.0).min(1.0)
        };
        let signal = shift * shift * uneven;
        let own = self
            .p
            .clone()
            .gather(1, self.labels.clone().unsqueeze_dim(1));
        let change = to_host(own)
            .into_iter()
            .map(|p| p * (1.0 - p.max(1e-30).ln()));
        let (low, high) = change.fold((f64::MAX, f64::MIN), |(low, high), x| {
            (low.min(x), high.max(x))
        });
        signal > 1e-8 * size && residual < 1e-2 * signal && high - low > 5e-3
    }
}

/// Squared lengths of the rows, `[M]`.
pub(super) fn row_squares(x: Tensor<2>) -> Tensor<1> {
    x.square().sum_dim(1).squeeze_dim(1)
}
