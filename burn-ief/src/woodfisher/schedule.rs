//! Gradual pruning over training.

use burn::config::Config;

use crate::error::Error;

/// Sparsity that rises from `initial` to `target` in `prunings` steps, `interval` optimizer steps
/// apart: fast while much is redundant, slowly at the end.
///
/// `s_f + (s_i − s_f) (1 − (t − t₀) / (n Δt))³`, Zhu and Gupta, "To prune, or not to prune" (2017),
/// [arXiv 1710.01878](https://arxiv.org/abs/1710.01878).
///
/// ```
/// use burn_ief::woodfisher::CubicSchedule;
///
/// let schedule = CubicSchedule::new(0.5, 4, 100).with_begin(50);
/// schedule.validate()?;
/// assert_eq!(schedule.due(50), Some(0.0));
/// assert_eq!(schedule.due(51), None);
/// assert_eq!(schedule.due(250), Some(0.4375)); // half the way, seven eighths of the sparsity
/// assert_eq!(schedule.due(450), Some(0.5));
/// assert_eq!(schedule.due(550), None);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct CubicSchedule {
    /// Share of the weights that are pruned at the end, 0 to 1.
    pub target: f64,
    /// Times to prune after the first, n.
    pub prunings: u64,
    /// Optimizer steps from one to the next, Δt.
    pub interval: u64,
    /// Share that is pruned at the first.
    #[config(default = 0.0)]
    pub initial: f64,
    /// Optimizer steps before the first, t₀.
    #[config(default = 0)]
    pub begin: u64,
}

impl CubicSchedule {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        check_sparsity("target", self.target)?;
        check_sparsity("initial", self.initial)?;
        let refuse = |field, value: String, expected| {
            Err(Error::Config {
                field,
                value,
                expected,
            })
        };
        if self.initial > self.target {
            return refuse("initial", self.initial.to_string(), "at most `target`");
        }
        let counts = [("prunings", self.prunings), ("interval", self.interval)];
        for (field, value) in counts {
            if value == 0 {
                return refuse(field, value.to_string(), "at least 1");
            }
        }
        Ok(())
    }

    /// The sparsity to prune to after `step` optimizer steps, if that is a step to prune at.
    pub fn due(&self, step: u64) -> Option<f64> {
        let since = step.checked_sub(self.begin)?;
        let index = since / self.interval.max(1);
        let due = since.is_multiple_of(self.interval.max(1)) && index <= self.prunings;
        due.then(|| self.sparsity(step))
    }

    /// The sparsity that the schedule asks for after `step` optimizer steps.
    pub fn sparsity(&self, step: u64) -> f64 {
        if step < self.begin {
            return 0.0;
        }
        let length = self.prunings as f64 * self.interval as f64;
        let left = (1.0 - (step - self.begin) as f64 / length).max(0.0);
        self.target + (self.initial - self.target) * left.powi(3)
    }
}

/// A share of the weights.
pub(super) fn check_sparsity(field: &'static str, value: f64) -> Result<(), Error> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(Error::Config {
            field,
            value: value.to_string(),
            expected: "a share of the weights, 0 to 1",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sparsity_rises_to_the_target(
            target in 0.0..=1.0f64,
            share in 0.0..=1.0f64,
            prunings in 1u64..20,
            interval in 1u64..20,
            begin in 0u64..50,
        ) {
            let schedule = CubicSchedule::new(target, prunings, interval)
                .with_initial(share * target)
                .with_begin(begin);
            schedule.validate().unwrap();
            let due: Vec<f64> = (0..1000).filter_map(|step| schedule.due(step)).collect();
            prop_assert_eq!(due.len() as u64, prunings + 1);
            prop_assert!(due.windows(2).all(|pair| pair[0] <= pair[1] + 1e-15));
            prop_assert!((due[0] - share * target).abs() < 1e-12);
            prop_assert_eq!(due[due.len() - 1], target);
        }
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let good = CubicSchedule::new(0.9, 10, 100);
        let bad = [
            ("target", CubicSchedule::new(1.5, 10, 100)),
            ("target", CubicSchedule::new(f64::NAN, 10, 100)),
            ("initial", good.clone().with_initial(-0.1)),
            ("initial", good.clone().with_initial(0.95)),
            ("prunings", CubicSchedule::new(0.9, 0, 100)),
            ("interval", CubicSchedule::new(0.9, 10, 0)),
        ];
        assert_eq!(good.validate(), Ok(()));
        for (name, schedule) in bad {
            let error = schedule.validate().unwrap_err();
            assert!(
                matches!(error, Error::Config { field, .. } if field == name),
                "{error}"
            );
        }
    }
}
