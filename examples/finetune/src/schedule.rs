//! How the step size changes over a run.

use std::fmt;
use std::str::FromStr;

use burn::lr_scheduler::LrSchedulerConfig;
use burn::lr_scheduler::composed::ComposedLrSchedulerConfig;
use burn::lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig;
use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::lr_scheduler::sequential::SequentialLrSchedulerConfig;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What a step size is multiplied by after a drop.
const DROP: f64 = 0.1;

/// The share of the steps over which [`Decay::Stable`] falls.
const LAST: f64 = 0.4;

/// How the step size changes over a run: `constant`, `wsd`, `linear`, `cosine` or `drop:EPOCH`; with `:SHARE` behind one of
/// the first four, it rises over that share of the steps before.
///
/// ```
/// use finetune::schedule::{Decay, Schedule};
///
/// let schedule: Schedule = "drop:15".parse()?;
/// assert_eq!(schedule, Decay::Drop { epoch: 15 }.into());
/// let schedule: Schedule = "cosine:0.05".parse()?;
/// assert_eq!(schedule.to_string(), "cosine:0.05");
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Schedule {
    decay: Decay,
    warm_up: f64,
}

/// How the step size falls.
///
/// ```
/// use finetune::schedule::{Decay, Schedule};
///
/// assert_eq!(Schedule::from(Decay::Linear).to_string(), "linear");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decay {
    /// It does not.
    Constant,
    /// Not at first, and linearly to zero over the last 40 % of the steps (`wsd`: warm-up, stable, decay).
    Stable,
    /// Linearly to zero.
    Linear,
    /// As half a wave of a cosine to zero.
    Cosine,
    /// To a tenth after this many epochs.
    Drop {
        /// Epochs at the full step size.
        epoch: usize,
    },
}

impl From<Decay> for Schedule {
    fn from(decay: Decay) -> Self {
        Self {
            decay,
            warm_up: 0.0,
        }
    }
}

impl Schedule {
    /// The scheduler of a run of `total` steps, `per_epoch` in an epoch.
    ///
    /// Warm-up takes the share of the steps, rounded up, as in `transformers`: of W steps the first has the W-th part of
    /// the step size, the last all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a step size that Burn refuses.
    pub fn build(
        self,
        step_size: f64,
        per_epoch: usize,
        total: usize,
    ) -> Result<ModuleLrScheduler, Error> {
        let warm_up = ((self.warm_up * total as f64).ceil() as usize).min(total);
        // Factors from 0 to 1: Burn's schedules start at 1 at most, iEF may start above.
        let rest = (total - warm_up).max(1);
        let decay = match self.decay {
            Decay::Constant => LrSchedulerConfig::Constant(1.0),
            Decay::Stable => {
                let last = ((LAST * rest as f64).round() as usize).max(1);
                let fall = LinearLrSchedulerConfig::new(1.0, 0.0, last);
                sequence(
                    [
                        LrSchedulerConfig::Constant(1.0),
                        LrSchedulerConfig::Linear(fall),
                    ],
                    rest - last,
                )
            }
            Decay::Linear => {
                LrSchedulerConfig::Linear(LinearLrSchedulerConfig::new(1.0, 0.0, rest))
            }
            Decay::Cosine => {
                LrSchedulerConfig::Cosine(CosineAnnealingLrSchedulerConfig::new(1.0, rest))
            }
            Decay::Drop { epoch } if epoch.saturating_mul(per_epoch) >= total => {
                LrSchedulerConfig::Constant(1.0)
            }
            Decay::Drop { epoch } => sequence(
                [1.0, DROP].map(LrSchedulerConfig::Constant),
                epoch * per_epoch,
            ),
        };
        let factor = match warm_up {
            0 | 1 => decay,
            _ => {
                let first = 1.0 / warm_up as f64;
                let rise = LinearLrSchedulerConfig::new(first, 1.0, warm_up - 1);
                sequence([LrSchedulerConfig::Linear(rise), decay], warm_up)
            }
        };
        let factors = vec![LrSchedulerConfig::Constant(step_size), factor];
        let scheduler = ComposedLrSchedulerConfig::new().with_schedulers(factors);
        let scheduler = scheduler.init();
        scheduler.map_err(|reason| Error::config("schedule", self, reason))
    }
}

/// Two schedules, the second from step `at` on.
fn sequence(parts: [LrSchedulerConfig; 2], at: usize) -> LrSchedulerConfig {
    let [first, second] = parts;
    match at {
        0 => second,
        _ => LrSchedulerConfig::Sequential(SequentialLrSchedulerConfig::new(
            vec![first, second],
            vec![at],
        )),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.decay {
            Decay::Constant => f.write_str("constant"),
            Decay::Stable => f.write_str("wsd"),
            Decay::Linear => f.write_str("linear"),
            Decay::Cosine => f.write_str("cosine"),
            Decay::Drop { epoch } => return write!(f, "drop:{epoch}"),
        }?;
        if self.warm_up > 0.0 {
            write!(f, ":{}", self.warm_up)?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (text, None),
        };
        let decay = match (name, number) {
            ("constant", _) => Decay::Constant,
            ("wsd", _) => Decay::Stable,
            ("linear", _) => Decay::Linear,
            ("cosine", _) => Decay::Cosine,
            ("drop", Some(epoch)) => {
                return match epoch.parse() {
                    Ok(epoch) if epoch > 0 => Ok(Decay::Drop { epoch }.into()),
                    _ => Err(format!(
                        "`{epoch}` is not a whole number of epochs of at least 1"
                    )),
                };
            }
            _ => {
                return Err(format!(
                    "`{text}` is not a schedule: expected constant, wsd, linear or cosine, perhaps with a share \
                     of the steps for a warm-up (linear:0.1), or drop:EPOCH"
                ));
            }
        };
        let warm_up = match number.map(str::parse) {
            None => 0.0,
            Some(Ok(share)) if (0.0..1.0).contains(&share) => share,
            _ => {
                return Err(format!(
                    "`{}` is not a share of the steps for a warm-up: expected at least 0 and below 1",
                    number.unwrap_or_default()
                ));
            }
        };
        Ok(Self { decay, warm_up })
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

    fn sizes(schedule: &str, step_size: f64, steps: usize, epochs: usize) -> Vec<f64> {
        let schedule: Schedule = schedule.parse().unwrap();
        let mut scheduler = schedule.build(step_size, steps, steps * epochs).unwrap();
        let sizes = (0..steps * epochs).map(|_| scheduler.step().base());
        sizes.collect()
    }

    #[test]
    fn step_sizes_over_a_run() {
        assert_eq!(sizes("constant", 2.0, 2, 2), [2.0; 4]);
        let drop = sizes("drop:1", 2.0, 2, 3);
        let expected = [2.0, 2.0, 0.2, 0.2, 0.2, 0.2];
        assert!(
            drop.iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12)
        );
        // The drop comes after the end.
        assert_eq!(sizes("drop:2", 2.0, 2, 2), [2.0; 4]);
        let linear = sizes("linear", 4.0, 2, 2);
        assert_eq!(linear[0], 4.0);
        assert!(
            linear
                .windows(2)
                .all(|pair| (pair[0] - pair[1] - 1.0).abs() < 1e-9)
        );
    }

    #[test]
    fn wsd_falls_over_the_last_two_fifths() {
        let expected = [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.0, 0.5];
        let found = sizes("wsd", 2.0, 5, 2);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        // Behind a warm-up it is two fifths of the rest; short runs fall in their last step at the latest.
        let found = sizes("wsd:0.5", 2.0, 10, 1);
        for (found, expected) in found[5..].iter().zip([2.0, 2.0, 2.0, 2.0, 1.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(sizes("wsd", 2.0, 1, 1), [2.0]);
    }

    #[test]
    fn cosine_and_warm_up() {
        // get_cosine_schedule_with_warmup of transformers with 2 of 6 steps for the warm-up, one step later: there the
        // first step size is 0.
        let found = sizes("cosine:0.25", 2.0, 3, 2);
        let expected = [1.0, 2.0, 2.0, 1.7071067811865475, 1.0, 0.2928932188134524];
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let found = sizes("constant:0.5", 3.0, 6, 1);
        for (found, expected) in found.iter().zip([1.0, 2.0, 3.0, 3.0, 3.0, 3.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        // Too short for a warm-up.
        assert_eq!(sizes("constant:0.9", 3.0, 1, 1), [3.0]);
    }

    #[test]
    fn a_resumed_schedule_goes_on() {
        let schedule: Schedule = "cosine:0.3".parse().unwrap();
        let mut whole = schedule.build(0.5, 10, 10).unwrap();
        for _ in 0..4 {
            whole.step();
        }
        let record = whole.to_record();
        let resumed = schedule.build(0.5, 10, 10).unwrap();
        let mut resumed = resumed.load_record(record);
        for _ in 4..10 {
            assert_eq!(resumed.step().base(), whole.step().base());
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "sine",
            "drop",
            "drop:0",
            "drop:x",
            "linear:3",
            "linear:1",
            "cosine:-0.1",
            "constant:NaN",
            "",
        ] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        for text in ["\"drop:3\"", "\"linear:0.1\"", "\"constant\"", "\"wsd\""] {
            let schedule: Schedule = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&schedule).unwrap(), text);
        }
    }
}
