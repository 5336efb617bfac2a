//! Gradients at the marked outputs: s, label matches, and the check of the loss scale.

use std::collections::BTreeSet;

use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor};

use super::to_host;
use crate::error::Error;
use crate::record::{Likelihood, OutputErrors};

/// Most entries of an output that the check of the loss scale looks at.
const CHECKED: usize = 1 << 18;
/// Labels that have to agree on a scale, unless there are fewer classes: class weights other than 1
/// may agree on some.
const ENOUGH: usize = 4;

pub(super) struct Outputs {
    marks: Vec<OutputErrors>,
    samples: usize,
    copies: usize,
}

impl Outputs {
    pub fn new(marks: Vec<OutputErrors>, samples: usize, copies: usize) -> Self {
        Self {
            marks,
            samples,
            copies,
        }
    }

    pub fn norms(&self) -> Result<Vec<f64>, Error> {
        let norms = self
            .marks
            .iter()
            .map(|mark| row_squares(mark.error.clone()));
        let norms = to_host(norms.reduce(|a, b| a + b).ok_or(Error::NoOutput)?);
        let bad: Vec<usize> = (0..norms.len())
            .filter(|&n| !norms[n].is_finite())
            .collect();
        match bad.is_empty() {
            true => Ok(norms),
            false => Err(Error::NonFinite {
                what: "output gradients",
                samples: bad,
            }),
        }
    }

    /// Whether a copy's output gradient is the true one's; `count` draws, each scaled by 1/√count.
    pub fn matches(&self, count: usize) -> Result<Vec<bool>, Error> {
        let mut all = vec![true; self.copies * self.samples];
        for mark in &self.marks {
            let drawn = mark.drawn.clone().ok_or(Error::NoSampledLabels)?;
            let drawn = drawn * (count as f64).sqrt();
            let truth = mark.error.clone().repeat_dim(0, self.copies);
            let size = to_host(row_squares(drawn.clone()));
            let distance = to_host(row_squares(drawn - truth));
            for ((same, distance), size) in all.iter_mut().zip(distance).zip(size) {
                // Another label is at a distance of √2 or more. Rounding is relative, or that of
                // p - onehot(y) by cancellation: a few ε₃₂ absolute.
                *same &= distance.sqrt() <= 1e-4 * size.sqrt() + 1e-6;
            }
        }
        Ok(all)
    }

    /// Compare the declared loss scale with what softmax cross-entropy at the outputs shows.
    ///
    /// A row that is plain cross-entropy is r (softmax(z) − onehot(y)) after division by the
    /// declared scale. If every informative row has that form with one and the same r, for all
    /// classes or [`ENOUGH`], r must be 1. Class weights, label smoothing and other losses do not
    /// have it, and pass.
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

/// r, if all informative rows of `error` are r (softmax(z) − onehot(y)) with one r, for all labels
/// or [`ENOUGH`] of them.
fn common_ratio(z: Tensor<2>, error: Tensor<2>) -> Option<f64> {
    let [_, classes] = z.dims();
    // Only the true class has a negative entry (a positive one under a negative r, which no
    // loss scale is).
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
        // Rows of well-fitted samples and of padding carry no information.
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
    // Some classes alone may have one class weight in common.
    if seen.len() < classes.min(ENOUGH) {
        return None;
    }
    ratios
        .iter()
        .all(|ratio| (ratio / first - 1.0).abs() < 1e-3)
        .then_some(first)
}
