//! When to prune during training, and how far.

use burn::config::Config;

use crate::error::Error;

/// Configuration of a [`CubicSchedule`].
///
/// ```
/// use burn_ief::prune::CubicScheduleConfig;
///
/// let schedule = CubicScheduleConfig::new(0.5, 4, 100).with_begin(50).init();
/// assert_eq!(schedule.due(50), Some(0.0));
/// assert_eq!(schedule.due(51), None);
/// assert_eq!(schedule.due(250), Some(0.4375)); // half of the steps, seven eighths of the sparsity
/// assert_eq!(schedule.due(450), Some(0.5));
/// assert_eq!(schedule.due(550), None);
/// ```
#[derive(Config, Debug, PartialEq)]
#[non_exhaustive]
pub struct CubicScheduleConfig {
    /// Share of the weights that are pruned at the end, 0 to 1.
    pub target: f64,
    /// Number of prunings after the first one, n. At least 1.
    pub prunings: u64,
    /// Optimizer steps between two prunings, Δt. At least 1.
    pub interval: u64,
    /// Share of the weights that are pruned at the first pruning, 0 to `target`.
    #[config(default = 0.0)]
    pub initial: f64,
    /// Optimizer steps before the first pruning, t₀.
    #[config(default = 0)]
    pub begin: u64,
}

impl CubicScheduleConfig {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        check_sparsity("target", self.target)?;
        check_sparsity("initial", self.initial)?;
        if self.initial > self.target {
            return Err(Error::config("initial", self.initial, "at most `target`"));
        }
        let counts = [("prunings", self.prunings), ("interval", self.interval)];
        for (field, value) in counts {
            if value == 0 {
                return Err(Error::config(field, value, "at least 1"));
            }
        }
        Ok(())
    }

    /// The schedule.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn try_init(&self) -> Result<CubicSchedule, Error> {
        self.validate()?;
        Ok(CubicSchedule {
            config: self.clone(),
        })
    }

    /// The schedule.
    ///
    /// # Panics
    ///
    /// Panics if a field is out of range; [`try_init`](Self::try_init) returns an error instead.
    pub fn init(&self) -> CubicSchedule {
        self.try_init().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A sparsity that rises from `initial` to `target` in n = `prunings` steps, Δt = `interval`
/// optimizer steps apart: fast at first, when many weights are redundant, and slowly at the end.
///
/// After t optimizer steps it is `target + (initial − target) (1 − (t − t₀) / (n Δt))³` (Zhu and
/// Gupta, "To prune, or not to prune", 2017,
/// [arXiv 1710.01878](https://arxiv.org/abs/1710.01878)). See [`CubicScheduleConfig`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct CubicSchedule {
    /// Every field is in its range.
    config: CubicScheduleConfig,
}

impl CubicSchedule {
    /// The sparsity to prune to after `step` optimizer steps; `None` if nothing is to be pruned then.
    pub fn due(&self, step: u64) -> Option<f64> {
        let since = step.checked_sub(self.config.begin)?;
        let index = since / self.config.interval;
        if since.is_multiple_of(self.config.interval) && index <= self.config.prunings {
            Some(self.sparsity(step))
        } else {
            None
        }
    }

    /// The share of weights that the schedule asks for after `step` optimizer steps.
    pub fn sparsity(&self, step: u64) -> f64 {
        let CubicScheduleConfig {
            target,
            prunings,
            interval,
            initial,
            begin,
        } = self.config;
        if step < begin {
            return 0.0;
        }
        let length = prunings as f64 * interval as f64;
        let left = (1.0 - (step - begin) as f64 / length).max(0.0);
        target + (initial - target) * left.powi(3)
    }
}

/// # Errors
///
/// [`Error::Config`] if `value` is not a share of the weights.
pub(super) fn check_sparsity(field: &'static str, value: f64) -> Result<(), Error> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(Error::config(
            field,
            value,
            "a share of the weights, 0 to 1",
        ))
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
            let schedule = CubicScheduleConfig::new(target, prunings, interval)
                .with_initial(share * target)
                .with_begin(begin)
                .init();
            let due: Vec<f64> = (0..1000).filter_map(|step| schedule.due(step)).collect();
            prop_assert_eq!(due.len() as u64, prunings + 1);
            prop_assert!(due.windows(2).all(|pair| pair[0] <= pair[1] + 1e-15));
            prop_assert!((due[0] - share * target).abs() < 1e-12);
            prop_assert_eq!(due[due.len() - 1], target);
        }
    }

    #[test]
    fn fields_out_of_range_are_named() {
        let good = CubicScheduleConfig::new(0.9, 10, 100);
        let bad = [
            ("target", CubicScheduleConfig::new(1.5, 10, 100)),
            ("target", CubicScheduleConfig::new(f64::NAN, 10, 100)),
            ("initial", good.clone().with_initial(-0.1)),
            ("initial", good.clone().with_initial(0.95)),
            ("prunings", CubicScheduleConfig::new(0.9, 0, 100)),
            ("interval", CubicScheduleConfig::new(0.9, 10, 0)),
        ];
        assert_eq!(good.validate(), Ok(()));
        for (name, config) in bad {
            let error = config.validate().unwrap_err();
            assert!(
                matches!(error, Error::Config { field, .. } if field == name),
                "{error}"
            );
            assert_eq!(config.try_init().unwrap_err(), error);
        }
    }
}
