//! Mean and spread of a quantity over batches.

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
    /// Statistics of no values yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add a value.
    pub fn push(&mut self, value: f64) {
        // Welford's recurrence. The textbook formula subtracts two large sums, which cancels digits.
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.spread += before * (value - self.mean);
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Mean of the values; NaN if there are none.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { f64::NAN } else { self.mean }
    }

    /// Standard deviation of the values (with n − 1 in the denominator); NaN for fewer than two.
    pub fn standard_deviation(&self) -> f64 {
        if self.count < 2 {
            f64::NAN
        } else {
            (self.spread / (self.count - 1) as f64).sqrt()
        }
    }

    /// Standard error of the mean; NaN for fewer than two values.
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
