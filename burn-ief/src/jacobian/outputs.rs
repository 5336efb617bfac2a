//! Gradients at the marked outputs: the norms s_n, label matches, fitted samples.

use burn::tensor::{DType, Tensor};

use super::{loss_scale, to_host};
use crate::error::Error;
use crate::params::widen;
use crate::record::{Likelihood, OutputErrors};

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
    /// Whether each sample is fitted, `[M]`; `None` if no output was marked.
    pub fitted: Option<Vec<bool>>,
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

    /// Whether each sample is fitted to the precision of the outputs, `[M]`; `None` if none is marked.
    ///
    /// Softmax probabilities and labels are at most 1, so a gradient p − y below the machine epsilon
    /// is rounding: the loss is 0 in that precision. Other outputs have no scale of their own; their
    /// gradient is compared with the output.
    pub fn fitted(&self) -> Option<Vec<bool>> {
        if let Some(facts) = &self.by_sample {
            return facts.fitted.clone();
        }
        let mut fitted: Option<Vec<bool>> = None;
        for mark in &self.marks {
            let [samples, positions, classes] = mark.value.dims();
            let epsilon = machine_epsilon(mark.error.dtype());
            let squares = to_host(row_squares(mark.error.clone()));
            let bounds = match mark.likelihood {
                Likelihood::Categorical => vec![positions as f64; samples],
                Likelihood::Gaussian => {
                    let value = mark.value.clone().reshape([samples, positions * classes]);
                    to_host(row_squares(value))
                }
            };
            let own = squares.iter().zip(bounds);
            let own = own.map(|(square, bound)| *square <= epsilon * epsilon * bound);
            fitted = Some(match fitted {
                Some(fitted) => fitted.iter().zip(own).map(|(a, b)| *a && b).collect(),
                None => own.collect(),
            });
        }
        fitted
    }

    /// Whether the drawn labels show curvature: their output gradients are not rounding next to those
    /// of the true labels. `None` if nothing is drawn.
    pub fn drawn_labels_show_curvature(&self) -> Option<bool> {
        if self.marks.is_empty() {
            return None;
        }
        let (mut drawn, mut truth) = (0.0, 0.0);
        for mark in &self.marks {
            let epsilon = machine_epsilon(mark.error.dtype());
            drawn += to_host(mark.drawn.clone().map(widen)?.square().sum())[0];
            truth += epsilon * to_host(mark.error.clone().square().sum())[0];
        }
        Some(drawn > truth)
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
            // Gradients for different labels differ by √2 or more. The rounding error is relative, or
            // absolute where p − onehot(y) cancels; it is that of the type in which the model computes.
            let rounding = machine_epsilon(drawn.dtype());
            let (relative, absolute) = (1e-4f64.max(16.0 * rounding), 1e-6f64.max(8.0 * rounding));
            let drawn = widen(drawn) * (count as f64).sqrt();
            let truth = mark.error.clone().repeat_dim(0, self.copies);
            let size = to_host(row_squares(drawn.clone()));
            let distance = to_host(row_squares(drawn - truth));
            for ((same, distance), size) in all.iter_mut().zip(distance).zip(size) {
                *same &= distance.sqrt() <= relative * size.sqrt() + absolute;
            }
        }
        Ok(all)
    }

    /// Compare the declared loss scale with the scale that the output gradients show.
    ///
    /// # Errors
    ///
    /// [`Error::LossScale`] if they show the scale of a sum, of a mean over samples or of a mean over
    /// positions, and it is not the declared one; see [`loss_scale`](super::loss_scale).
    pub fn check_loss_scale(&self, declared: f64) -> Result<(), Error> {
        for mark in &self.marks {
            if mark.likelihood == Likelihood::Categorical {
                loss_scale::check(&mark.value, &mark.error, declared)?;
            }
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

pub(super) fn row_squares(x: Tensor<2>) -> Tensor<1> {
    x.square().sum_dim(1).squeeze_dim(1)
}
