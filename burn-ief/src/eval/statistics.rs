//! Statistics over batches, and the imbalance within one.

use crate::error::Error;
use crate::jacobian::Jacobian;

/// Mean and spread of a quantity over batches.
///
/// ```
/// use burn_ief::eval::Statistics;
///
/// let ratios: Statistics = [0.5, 0.7, 0.6].into_iter().collect();
/// assert_eq!(ratios.count(), 3);
/// assert!((ratios.mean() - 0.6).abs() < 1e-12);
/// assert!((ratios.standard_deviation() - 0.1).abs() < 1e-12);
/// assert!((ratios.standard_error() - 0.1 / 3f64.sqrt()).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Statistics {
    count: usize,
    mean: f64,
    /// Sum of squared distances from the mean.
    spread: f64,
}

impl Statistics {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more value.
    pub fn push(&mut self, value: f64) {
        // Welford's recurrence: the difference of two large sums would cancel.
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.spread += before * (value - self.mean);
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their mean; NaN if there are none.
    pub fn mean(&self) -> f64 {
        match self.count {
            0 => f64::NAN,
            _ => self.mean,
        }
    }

    /// Their standard deviation (n − 1 in the denominator); NaN below two.
    pub fn standard_deviation(&self) -> f64 {
        match self.count {
            0 | 1 => f64::NAN,
            count => (self.spread / (count - 1) as f64).sqrt(),
        }
    }

    /// The standard error of the mean; NaN below two.
    pub fn standard_error(&self) -> f64 {
        self.standard_deviation() / (self.count as f64).sqrt()
    }
}

impl Extend<f64> for Statistics {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.push(value));
    }
}

impl FromIterator<f64> for Statistics {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut statistics = Self::new();
        statistics.extend(values);
        statistics
    }
}

/// The imbalance of a batch: the largest norm of a sample's gradient over the smallest.
///
/// Infinite if a sample's gradient is zero. The larger it is, the more the empirical Fisher
/// distorts (EF lowers every loss alike, whatever its gradient).
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::Tape;
/// use burn_ief::eval::imbalance;
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(1, 1).with_bias(false).init(&device);
/// let x = Tensor::<2>::from_floats([[1.0], [4.0], [2.0]], &device);
/// let tape = Tape::start();
/// let grads = layer.forward_recorded(x).mean().backward();
/// let jacobian = Jacobian::from_tape(tape, grads, &layer)?;
/// assert!((imbalance(&jacobian)? - 4.0).abs() < 1e-5);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::NonFinite`] naming the samples whose gradients are NaN or infinite.
pub fn imbalance(jacobian: &Jacobian) -> Result<f64, Error> {
    let norms = jacobian.row_norms();
    let bad: Vec<usize> = (0..norms.len())
        .filter(|&n| !norms[n].is_finite())
        .collect();
    if !bad.is_empty() {
        return Err(Error::NonFinite {
            what: "per-sample gradients",
            samples: bad,
        });
    }
    let largest = norms.iter().copied().fold(0.0, f64::max);
    let smallest = norms.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(largest / smallest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn too_few_values_have_no_spread() {
        let mut statistics = Statistics::new();
        assert!(statistics.mean().is_nan());
        statistics.push(2.0);
        assert_eq!(statistics.mean(), 2.0);
        assert!(statistics.standard_deviation().is_nan());
        assert!(statistics.standard_error().is_nan());
    }

    proptest! {
        #[test]
        fn agrees_with_two_passes(values in proptest::collection::vec(-1e3..1e3f64, 2..40), shift in -1e6..1e6f64) {
            let shifted = values.iter().map(|x| x + shift);
            let statistics: Statistics = shifted.clone().collect();
            let count = values.len() as f64;
            let mean = shifted.clone().sum::<f64>() / count;
            let variance = shifted.map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
            prop_assert!((statistics.mean() - mean).abs() < 1e-9 * (1.0 + mean.abs()));
            let deviation = statistics.standard_deviation();
            prop_assert!((deviation - variance.sqrt()).abs() < 1e-8 * (1.0 + variance.sqrt()));
        }
    }
}
