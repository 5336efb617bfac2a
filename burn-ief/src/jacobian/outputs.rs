//! Gradients at the marked outputs: the norms s_n, label matches, and a check of the loss scale.

use std::collections::BTreeSet;

use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor};

use super::to_host;
use crate::error::Error;
use crate::record::{Likelihood, OutputErrors};

/// Most entries of an output that the check of the loss scale reads.
const CHECKED: usize = 1 << 18;
/// Number of different labels that have to show the same scale, unless there are fewer classes. A few
/// classes may happen to share a class weight other than 1.
const ENOUGH: usize = 4;

pub(super) struct Outputs {
    marks: Vec<OutputErrors>,
    samples: usize,
    copies: usize,
    /// What is known of outputs that were marked sample by sample.
    by_sample: Option<OutputsBySample>,
}

/// Facts about the outputs of a batch that was recorded sample by sample.
pub(super) struct OutputsBySample {
    /// s, `[M]`; `None` if no output was marked.
    pub norms: Option<Vec<f64>>,
    /// Whether the drawn label of each copy is the true one, copy after copy, `[K * M]`.
    pub matches: Option<Vec<bool>>,
}

impl Outputs {
    pub fn new(marks: Vec<OutputErrors>, samples: usize, copies: usize) -> Self {
        Self {
            marks,
            samples,
            copies,
            by_sample: None,
        }
    }

    /// Outputs of which only these facts are known.
    pub fn by_sample(facts: OutputsBySample, samples: usize, copies: usize) -> Self {
        Self {
            by_sample: Some(facts),
            ..Self::new(Vec::new(), samples, copies)
        }
    }

    pub fn norms(&self) -> Result<Vec<f64>, Error> {
        if let Some(facts) = &self.by_sample {
            return facts.norms.clone().ok_or(Error::NoOutput);
        }
        let norms = self
            .marks
            .iter()
            .map(|mark| row_squares(mark.error.clone()));
        let norms = to_host(norms.reduce(|a, b| a + b).ok_or(Error::NoOutput)?);
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

    /// Whether the output gradient of a copy equals the gradient for the true label. The copies are
    /// `count` draws, each scaled by 1/√count.
    pub fn matches(&self, count: usize) -> Result<Vec<bool>, Error> {
        if let Some(facts) = &self.by_sample {
            return facts.matches.clone().ok_or(Error::NoSampledLabels);
        }
        let mut all = vec![true; self.copies * self.samples];
        for mark in &self.marks {
            let drawn = mark.drawn.clone().ok_or(Error::NoSampledLabels)?;
            let drawn = drawn * (count as f64).sqrt();
            let truth = mark.error.clone().repeat_dim(0, self.copies);
            let size = to_host(row_squares(drawn.clone()));
            let distance = to_host(row_squares(drawn - truth));
            for ((same, distance), size) in all.iter_mut().zip(distance).zip(size) {
                // Gradients for different labels differ by √2 or more. The rounding error is
                // relative, or absolute at a few ε₃₂ where p - onehot(y) cancels.
                *same &= distance.sqrt() <= 1e-4 * size.sqrt() + 1e-6;
            }
        }
        Ok(all)
    }

    /// Compare the declared loss scale with the scale that the output gradients show.
    ///
    /// For plain softmax cross-entropy, an output gradient divided by the declared scale is
    /// r (softmax(z) − onehot(y)), and r is 1 if the declaration is right. The check fails if every
    /// informative row has this form with the same r ≠ 1, for all classes or [`ENOUGH`] of them.
    /// Class weights, label smoothing and other losses give other forms and pass.
    pub fn check_loss_scale(&self, declared: f64) -> Result<(), Error> {
        for mark in &self.marks {
            let [samples, positions, classes] = mark.value.dims();
            if mark.likelihood != Likelihood::Categorical || classes < 2 {
                continue;
            }
            let samples = samples.min((CHECKED / (positions * classes)).max(1));
            let rows = samples * positions;
            let value = mark
                .value
                .clone()
                .narrow(0, 0, samples)
                .reshape([rows, classes]);
            let error = mark
                .error
                .clone()
                .narrow(0, 0, samples)
                .reshape([rows, classes]);
            if let Some(ratio) = common_ratio(value, error)
                && (ratio - 1.0).abs() > 1e-2
            {
                return Err(Error::LossScale {
                    declared,
                    found: declared * ratio,
                });
            }
        }
        Ok(())
    }
}

fn row_squares(x: Tensor<2>) -> Tensor<1> {
    x.square().sum_dim(1).squeeze_dim(1)
}

/// The common r if all informative rows of `error` are r (softmax(z) − onehot(y)), for all labels or
/// [`ENOUGH`] of them.
fn common_ratio(z: Tensor<2>, error: Tensor<2>) -> Option<f64> {
    let [_, classes] = z.dims();
    // Only the true class has a negative entry, because a loss scale is positive.
    let labels: Tensor<1, Int> = error.clone().argmin(1).squeeze_dim(1);
    let classes_seen = labels.clone().into_data().convert::<i64>();
    let classes_seen: Vec<i64> = classes_seen.try_to_vec().expect("converted to i64");
    let closed = softmax(z, 1) - labels.one_hot::<2>(classes).float().cast(error.dtype());
    let overlap = to_host((error.clone() * closed.clone()).sum_dim(1));
    let closed = to_host(row_squares(closed));
    let error = to_host(row_squares(error));
    let mut ratios = Vec::new();
    let mut seen = BTreeSet::new();
    let rows = overlap.into_iter().zip(closed).zip(error).zip(classes_seen);
    for (((overlap, closed), error), label) in rows {
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
