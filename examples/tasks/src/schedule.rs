//! How the step size changes over a run.

use serde::{Deserialize, Serialize};

/// How the step size changes over a run.
///
/// ```
/// use tasks::Schedule;
///
/// assert_eq!(Schedule::Linear.factor(25, 100), 0.75);
/// assert_eq!(serde_json::to_string(&Schedule::WarmupLinear)?, "\"warmup_linear\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// It falls linearly to zero.
    Linear,
    /// It rises linearly for a tenth of the steps, and then falls linearly to zero.
    WarmupLinear,
    /// It stays for six tenths of the steps, and then falls linearly to zero.
    LateLinear,
}

impl Schedule {
    /// The factor on the step size in step `step` (from 0) of `steps`.
    pub fn factor(self, step: usize, steps: usize) -> f64 {
        let (at, all) = (step as f64, steps.max(1) as f64);
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - at / all,
            Self::WarmupLinear => {
                let rise = (steps / 10).max(1) as f64;
                let fall = (all - rise).max(1.0);
                ((at + 1.0) / rise).min((all - at) / fall).min(1.0)
            }
            Self::LateLinear => ((all - at) / (0.4 * all)).min(1.0),
        }
    }

    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::WarmupLinear => "warm-up, linear",
            Self::LateLinear => "constant, then linear",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_takes_a_tenth() {
        let factor = |step| Schedule::WarmupLinear.factor(step, 100);
        assert!((factor(0) - 0.1).abs() < 1e-12);
        assert_eq!((factor(9), factor(10)), (1.0, 1.0));
        assert!((factor(55) - 0.5).abs() < 1e-12);
        assert!(factor(99) > 0.0 && factor(99) < 0.02);
    }

    #[test]
    fn a_late_fall_takes_four_tenths() {
        let factor = |step| Schedule::LateLinear.factor(step, 100);
        assert_eq!((factor(0), factor(60)), (1.0, 1.0));
        assert!((factor(80) - 0.5).abs() < 1e-12);
        assert!(factor(99) > 0.0 && factor(99) < 0.03);
    }

    #[test]
    fn no_schedule_rises_above_one_or_falls_to_zero() {
        for schedule in [
            Schedule::Constant,
            Schedule::Linear,
            Schedule::WarmupLinear,
            Schedule::LateLinear,
        ] {
            for steps in [1, 2, 9, 10, 11, 137] {
                for step in 0..steps {
                    let factor = schedule.factor(step, steps);
                    assert!(factor > 0.0 && factor <= 1.0, "{schedule:?} {step}/{steps}");
                }
            }
        }
    }
}
