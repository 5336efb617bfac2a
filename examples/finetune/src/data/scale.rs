//! The scale of numbers that are learned.

use super::error::Error;

/// Mean and deviation of numbers: models learn `(number − mean) / deviation`.
///
/// ```
/// use finetune::data::NumberScale;
///
/// let scale = NumberScale::of([100.0, 300.0].into_iter())?;
/// assert_eq!((scale.apply(300.0), scale.undo(-1.0)), (1.0, 100.0));
/// # Ok::<(), finetune::data::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberScale {
    mean: f64,
    deviation: f64,
}

impl Default for NumberScale {
    /// Numbers as they are.
    fn default() -> Self {
        Self {
            mean: 0.0,
            deviation: 1.0,
        }
    }
}

impl NumberScale {
    /// Mean and standard deviation (by the count of the numbers) of these.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] if they are all the same, or so large that there is no deviation in floats.
    pub fn of(numbers: impl Iterator<Item = f64> + Clone) -> Result<Self, Error> {
        let count = numbers.clone().count().max(1) as f64;
        let mean = numbers.clone().sum::<f64>() / count;
        let variance = numbers.clone().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let deviation = variance.sqrt();
        // What is written is in 32 bits.
        let is_usable = |x: f64| (x as f32).is_finite();
        if !(deviation as f32 > 0.0 && is_usable(deviation) && is_usable(mean)) {
            let expected =
                "two or more different numbers in the training rows, in the range of 32-bit floats";
            let found = format!("mean {mean}, deviation {deviation}");
            return Err(Error::option("label_column", expected, found));
        }
        Ok(Self { mean, deviation })
    }

    /// From a number to what is learned.
    pub fn apply(&self, number: f64) -> f64 {
        (number - self.mean) / self.deviation
    }

    /// From what is learned to a number.
    pub fn undo(&self, learned: f64) -> f64 {
        learned * self.deviation + self.mean
    }

    /// Mean and deviation.
    pub(crate) fn parts(&self) -> (f64, f64) {
        (self.mean, self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_all_the_same_are_refused() {
        let error = NumberScale::of([2.5; 3].into_iter())
            .unwrap_err()
            .to_string();
        assert!(error.contains("two or more different numbers"), "{error}");
        assert!(NumberScale::of([0.0, 1e300].into_iter()).is_err());
        let scale = NumberScale::of([1.0, 2.0, 6.0].into_iter()).unwrap();
        for number in [-4.0, 0.0, 17.5] {
            assert!((scale.undo(scale.apply(number)) - number).abs() < 1e-12);
        }
    }
}
