//! How the step size changes over a run.

use std::fmt;
use std::str::FromStr;

use burn::lr_scheduler::LrSchedulerConfig;
use burn::lr_scheduler::composed::ComposedLrSchedulerConfig;
use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::lr_scheduler::sequential::SequentialLrSchedulerConfig;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What a step size is multiplied by after a drop.
const DROP: f64 = 0.1;

/// How the step size changes over a run: `constant`, `linear`, or `drop:EPOCH`.
///
/// ```
/// use finetune::schedule::Schedule;
///
/// let schedule: Schedule = "drop:15".parse()?;
/// assert_eq!(schedule, Schedule::Drop { epoch: 15 });
/// assert_eq!(schedule.to_string(), "drop:15");
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Schedule {
    /// It does not.
    Constant,
    /// Falls linearly to zero.
    Linear,
    /// Falls to a tenth after this many epochs.
    Drop {
        /// Epochs at the full step size.
        epoch: usize,
    },
}

impl Schedule {
    /// The scheduler of a run of `epochs` with `steps` in each.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a step size that Burn refuses.
    pub fn build(
        self,
        step_size: f64,
        steps: usize,
        epochs: usize,
    ) -> Result<ModuleLrScheduler, Error> {
        let composed = ComposedLrSchedulerConfig::new().constant(step_size);
        let scheduler = match self {
            Self::Constant => composed.init(),
            // A factor from 1 to 0: Burn's linear schedule starts at 1 at most, iEF may start above.
            Self::Linear => {
                let factor = LinearLrSchedulerConfig::new(1.0, 0.0, (steps * epochs).max(1));
                composed.linear(factor).init()
            }
            Self::Drop { epoch } if epoch >= epochs => composed.init(),
            Self::Drop { epoch } => {
                let before = LrSchedulerConfig::Constant(step_size);
                let after = LrSchedulerConfig::Constant(DROP * step_size);
                SequentialLrSchedulerConfig::new(vec![before, after], vec![epoch * steps]).init()
            }
        };
        scheduler.map_err(|reason| Error::config("schedule", self, reason))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Linear => f.write_str("linear"),
            Self::Drop { epoch } => write!(f, "drop:{epoch}"),
        }
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "constant" => Ok(Self::Constant),
            None if text == "linear" => Ok(Self::Linear),
            Some(("drop", epoch)) => match epoch.parse() {
                Ok(epoch) if epoch > 0 => Ok(Self::Drop { epoch }),
                _ => Err(format!(
                    "`{epoch}` is not a whole number of epochs of at least 1"
                )),
            },
            _ => Err(format!(
                "`{text}` is not a schedule: expected constant, linear or drop:EPOCH"
            )),
        }
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

impl TryFrom<String> for Schedule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(schedule: Schedule, step_size: f64, steps: usize, epochs: usize) -> Vec<f64> {
        let mut scheduler = schedule.build(step_size, steps, epochs).unwrap();
        let sizes = (0..steps * epochs).map(|_| scheduler.step().base());
        sizes.collect()
    }

    #[test]
    fn step_sizes_over_a_run() {
        assert_eq!(sizes(Schedule::Constant, 2.0, 2, 2), [2.0; 4]);
        let drop = sizes(Schedule::Drop { epoch: 1 }, 2.0, 2, 3);
        let expected = [2.0, 2.0, 0.2, 0.2, 0.2, 0.2];
        assert!(
            drop.iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12)
        );
        // The drop comes after the end.
        assert_eq!(sizes(Schedule::Drop { epoch: 2 }, 2.0, 2, 2), [2.0; 4]);
        let linear = sizes(Schedule::Linear, 4.0, 2, 2);
        assert_eq!(linear[0], 4.0);
        assert!(
            linear
                .windows(2)
                .all(|pair| (pair[0] - pair[1] - 1.0).abs() < 1e-9)
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["cosine", "drop", "drop:0", "drop:x", "linear:3", ""] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        let json = serde_json::to_string(&Schedule::Drop { epoch: 3 }).unwrap();
        assert_eq!(json, "\"drop:3\"");
        assert_eq!(
            serde_json::from_str::<Schedule>(&json).unwrap(),
            Schedule::Drop { epoch: 3 }
        );
    }
}
