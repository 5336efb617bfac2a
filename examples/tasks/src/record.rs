//! A line of the results.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::{Half, Score};
use crate::schedule::Schedule;

/// Which run: everything that decides its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Name of the task.
    pub task: String,
    /// Version of the task.
    pub version: u32,
    /// Name of the optimizer.
    pub optimizer: String,
    /// All options of the optimizer but the step size.
    pub options: Value,
    /// The largest step size.
    pub step_size: f64,
    /// How it changes.
    pub schedule: Schedule,
    /// Seed of parameters, order of the rows, and drawn labels.
    pub seed: u64,
}

impl Run {
    /// In a few words.
    pub fn describe(&self) -> String {
        format!(
            "{} {} {} {} seed {}",
            self.task,
            self.optimizer,
            self.step_size,
            self.schedule.title(),
            self.seed
        )
    }
}

/// A run and what came out: a line of the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Which run.
    #[serde(flatten)]
    pub run: Run,
    /// The half that the task belongs to.
    pub half: Half,
    /// Whether the step size was added to the grid because the best one was at its edge.
    pub extended: bool,
    /// Steps of a full run.
    pub steps: usize,
    /// Rows of a step.
    pub batch: usize,
    /// Mean loss of the batches of the last tenth of the steps; none if the run diverged.
    pub final_train_loss: Option<f64>,
    /// Loss over the first training rows after the run; none if the run diverged.
    pub measured_train_loss: Option<f64>,
    /// Loss over the test rows; none if the run diverged.
    pub test_loss: Option<f64>,
    /// What the score is.
    pub score: Score,
    /// Score over the test rows; none if the run diverged.
    pub test_score: Option<f64>,
    /// If the loss did not stay finite: the step, from 0, and why the run ended there.
    pub diverged: Option<Divergence>,
    /// Mean training loss of every twentieth of the steps, as far as the run got.
    pub curve: Vec<f64>,
    /// Seconds of all steps.
    pub seconds: f64,
    /// Seconds of the whole run: reading data, steps, evaluation.
    pub total_seconds: f64,
    /// Where it ran.
    pub machine: Machine,
}

/// Where and when a run ended before its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// The step, from 0.
    pub step: usize,
    /// What happened.
    pub reason: String,
}

/// Where a run ran. Its times compare with others only if the load was the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor.
    pub processor: String,
    /// Threads that the system has.
    pub threads: usize,
    /// Mean number of waiting or running processes in the minute before the run, if the system reports it.
    pub load: Option<f64>,
}

impl Machine {
    /// This machine, now.
    pub fn here() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let name = |text: &str| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_string())
        };
        let load = read("/proc/loadavg");
        Self {
            processor: name(&read("/proc/cpuinfo"))
                .unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            load: load.split_whitespace().next().and_then(|x| x.parse().ok()),
        }
    }
}

impl Record {
    /// The final training loss; infinite if the run diverged.
    pub fn loss(&self) -> f64 {
        self.final_train_loss.unwrap_or(f64::INFINITY)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A made-up result.
    pub(crate) fn record(task: &str, optimizer: &str, step_size: f64, seed: u64) -> Record {
        Record {
            run: Run {
                task: task.into(),
                version: 1,
                optimizer: optimizer.into(),
                options: Value::Null,
                step_size,
                schedule: Schedule::Linear,
                seed,
            },
            half: Half::Explore,
            extended: false,
            steps: 100,
            batch: 32,
            final_train_loss: Some(0.5),
            measured_train_loss: Some(0.4),
            test_loss: Some(0.6),
            score: Score::Accuracy,
            test_score: Some(0.9),
            diverged: None,
            curve: vec![1.0, 0.5],
            seconds: 10.0,
            total_seconds: 12.0,
            machine: Machine {
                processor: "a processor".into(),
                threads: 2,
                load: Some(1.5),
            },
        }
    }

    /// The same with this final loss; infinite for a run that diverged.
    pub(crate) fn with_loss(mut record: Record, loss: f64) -> Record {
        if loss.is_finite() {
            record.final_train_loss = Some(loss);
            return record;
        }
        record.final_train_loss = None;
        record.measured_train_loss = None;
        record.test_loss = None;
        record.test_score = None;
        record.diverged = Some(Divergence {
            step: 7,
            reason: "the loss is not finite".into(),
        });
        record
    }

    proptest! {
        #[test]
        fn a_line_reads_back_as_it_was(
            step_size in 1e-9f64..1e3,
            loss in prop::option::of(0.0f64..1e9),
            curve in prop::collection::vec(any::<f64>().prop_filter("finite", |x| x.is_finite()), 0..20),
            seed in any::<u64>(),
            power in 0.0f64..1.0,
        ) {
            let mut record = with_loss(record("a", "b", step_size, seed), loss.unwrap_or(f64::INFINITY));
            record.curve = curve;
            record.run.options = serde_json::json!({"metric": {"separable": {"power": power}}, "group": null});
            let line = serde_json::to_string(&record).unwrap();
            prop_assert!(!line.contains('\n'));
            let read: Record = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read, record);
        }
    }

    #[test]
    fn the_run_is_flat_in_its_line() {
        let line = serde_json::to_value(record("digits-vit", "adamw", 0.5, 3)).unwrap();
        assert_eq!(
            (&line["task"], &line["seed"]),
            (&"digits-vit".into(), &3.into())
        );
        assert_eq!(line["diverged"], Value::Null);
    }
}
