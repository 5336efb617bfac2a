//! A check of a user's model: recorded rows against one backward pass per sample.

use std::fmt;
use std::ops::Range;

use burn::module::Module;
use burn::tensor::Tensor;

use super::Jacobian;
use crate::error::Error;
use crate::linalg::norm;
use crate::record::{LossScale, Tape};

/// Differences are relative to at least this share of the largest whole row. Gradients that are zero
/// except for rounding (of the bias of attention keys) have no meaningful relative error.
const FLOOR: f64 = 1e-3;

/// What [`validate`] found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ValidationReport {
    /// Every trainable parameter with its largest difference.
    pub parameters: Vec<ValidatedParameter>,
    /// Paths of trainable parameters that no recorded call used (their gradients are zero).
    pub unused: Vec<String>,
}

/// The largest difference between recorded and sample-by-sample rows of one parameter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ValidatedParameter {
    /// Path of the parameter in the module.
    pub path: String,
    /// The sample with the largest difference.
    pub sample: usize,
    /// Norm of the difference, relative to the parameter's largest row or to a thousandth of the
    /// largest whole row, whichever is larger.
    pub difference: f64,
}

impl ValidationReport {
    /// The parameter with the largest difference.
    pub fn worst(&self) -> Option<&ValidatedParameter> {
        let all = self.parameters.iter();
        all.max_by(|a, b| a.difference.total_cmp(&b.difference))
    }
}

impl fmt::Display for ValidationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parameters agree", self.parameters.len())?;
        if let Some(worst) = self.worst() {
            write!(
                f,
                ", largest difference {:.1e} at `{}`",
                worst.difference, worst.path
            )?;
        }
        if self.unused.is_empty() {
            Ok(())
        } else {
            write!(f, "; unused: {}", self.unused.join(", "))
        }
    }
}

/// Check that a model records what it computes and that its samples are independent.
///
/// `loss(module, range)` returns the **summed** loss of the samples in `range`, through the
/// model's recorded calls. It runs once over all samples in a recording, and once for each sample
/// without a recording. Both must give the same gradient rows for every trainable parameter. The
/// check finds whatever couples the samples of a batch (a contrastive or balance loss, statistics
/// over the batch), and errors in recording rules that you wrote.
///
/// The forward pass must not be random: set dropout to zero or freeze it. The check takes M passes
/// and memory for M·P numbers, so use a small batch. A `tolerance` of 1e-4 suits f32.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_ief::Error;
/// use burn_ief::jacobian::validate;
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 2).init(&device);
/// let x = Tensor::<2>::random([4, 3], Distribution::Default, &device);
///
/// let report = validate(&model, 4, 1e-4, |model, range| {
///     let x = x.clone().slice([range]);
///     model.forward_recorded(x).square().sum()
/// })?;
/// assert_eq!(report.parameters.len(), 2);
///
/// // Subtracting the mean of the batch couples its samples.
/// let coupled = validate(&model, 4, 1e-4, |model, range| {
///     let y = model.forward_recorded(x.clone().slice([range]));
///     (y.clone() - y.mean_dim(0)).square().sum()
/// });
/// assert!(matches!(coupled, Err(Error::Validation { .. })));
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Validation`] naming the parameter and the sample with the largest difference; the
/// errors of [`Jacobian::from_tape`] (an unrecorded use, BatchNorm, …).
pub fn validate<M: Module>(
    module: &M,
    samples: usize,
    tolerance: f64,
    loss: impl Fn(&M, Range<usize>) -> Tensor<1>,
) -> Result<ValidationReport, Error> {
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let grads = loss(module, 0..samples).backward();
    let recorded = Jacobian::from_tape(tape, grads, module)?;
    if recorded.samples() != samples {
        return Err(Error::Size {
            what: "samples on axis 0 of the recorded calls",
            expected: samples,
            found: recorded.samples(),
        });
    }
    let oracle = Jacobian::by_sample(module, samples, |module, n| loss(module, n..n + 1))?;
    let report = compare(&recorded, &oracle);
    match report.worst() {
        Some(worst) if worst.difference > tolerance => Err(Error::Validation {
            parameter: worst.path.clone(),
            sample: worst.sample,
            difference: worst.difference,
            tolerance,
        }),
        _ => Ok(report),
    }
}

fn compare(recorded: &Jacobian, oracle: &Jacobian) -> ValidationReport {
    let (rows, expected) = (recorded.to_dense(), oracle.to_dense());
    let largest = |rows: &mut dyn Iterator<Item = f64>| rows.fold(0.0, f64::max);
    let floor = FLOOR * largest(&mut expected.iter().map(|row| norm(row)));
    let mut start = 0;
    let parameters = recorded.params().iter().map(|param| {
        let columns = start..start + param.shape.num_elements();
        start = columns.end;
        let size = largest(&mut expected.iter().map(|row| norm(&row[columns.clone()])));
        let size = size.max(floor);
        let differences = rows.iter().zip(&expected).map(|(row, expected)| {
            let pairs = row[columns.clone()].iter().zip(&expected[columns.clone()]);
            let difference: Vec<f64> = pairs.map(|(a, b)| a - b).collect();
            relative(norm(&difference), size)
        });
        let worst = differences
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((0, 0.0));
        ValidatedParameter {
            path: param.path.clone(),
            sample: worst.0,
            difference: worst.1,
        }
    });
    ValidationReport {
        parameters: parameters.collect(),
        unused: recorded.unused(),
    }
}

/// Zero and zero agree. NaN does not agree with anything.
fn relative(difference: f64, size: f64) -> f64 {
    match difference {
        0.0 => 0.0,
        d if d.is_nan() || size.is_nan() => f64::INFINITY,
        d => d / size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_nan_rows_compare() {
        assert_eq!(relative(0.0, 0.0), 0.0);
        assert_eq!(relative(1e-9, 0.0), f64::INFINITY);
        assert_eq!(relative(f64::NAN, 1.0), f64::INFINITY);
        assert_eq!(relative(1.0, 4.0), 0.25);
    }
}
