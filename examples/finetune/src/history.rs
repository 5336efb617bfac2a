//! What a run leaves behind: `run.json`.

use std::collections::BTreeMap;
use std::path::Path;

use programs::optimizer::OptimizerName;
use programs::statistics::median;
use programs::{files, reading};
use serde::{Deserialize, Deserializer, Serialize};

use crate::config::{Architecture, Config};
use crate::error::Error;
use crate::inputs::Inputs;
use crate::metric::Metric;
use crate::rounds::Rounds;
use crate::test_answers::AnswerScores;

/// The file in a run's folder.
pub const FILE: &str = "run.json";

/// The state of a run.
///
/// ```
/// use finetune::history::Status;
///
/// let name = serde_json::to_string(&Status::Finished)?;
/// assert_eq!(name, "\"finished\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It runs, or was killed.
    Running,
    /// It was stopped, and can go on.
    Interrupted,
    /// It failed: the loss is not a number, or a system cannot be solved.
    Failed,
    /// It came to its end.
    Finished,
}

/// Loss and metrics on one part of the data.
///
/// ```
/// use finetune::history::Scores;
///
/// let text = r#"{"loss": null, "metrics": {"accuracy": 0.9}}"#;
/// let scores: Scores = serde_json::from_str(text)?;
/// assert_eq!(scores.metrics["accuracy"], 0.9);
/// // JSON has no NaN: it is written as null.
/// assert!(scores.loss.is_nan());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean loss of a row.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// By name.
    #[serde(deserialize_with = "numbers")]
    pub metrics: BTreeMap<String, f64>,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let values = BTreeMap::<String, Option<f64>>::deserialize(deserializer)?.into_iter();
    Ok(values
        .map(|(name, value)| (name, value.unwrap_or(f64::NAN)))
        .collect())
}

/// One epoch.
///
/// ```
/// use finetune::history::{Epoch, Scores};
///
/// let valid = Scores { loss: 0.5, metrics: [("accuracy".to_string(), 0.9)].into() };
/// assert_eq!(Epoch { train_loss: 0.4, valid }.valid.loss, 0.5);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Mean training loss over its steps.
    #[serde(deserialize_with = "number")]
    pub train_loss: f64,
    /// On the validation rows.
    pub valid: Scores,
}

/// The model as it was trained.
///
/// ```
/// use finetune::config::Architecture;
/// use finetune::history::ModelFacts;
///
/// let facts = ModelFacts { architecture: Architecture::Mlp, trainable: 5, parameters: 5 };
/// assert_eq!(facts.trainable, facts.parameters);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Its family.
    pub architecture: Architecture,
    /// Parameters that were trained.
    pub trainable: usize,
    /// All parameters.
    pub parameters: usize,
}

/// Programs and machine.
///
/// ```
/// assert!(finetune::history::Versions::here().cores > 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// This program.
    pub finetune: String,
    /// Burn.
    pub burn: String,
    /// Operating system and processor.
    pub platform: String,
    /// Cores that the program may use.
    pub cores: usize,
}

impl Versions {
    /// Of this program on this machine.
    pub fn here() -> Self {
        Self {
            finetune: env!("CARGO_PKG_VERSION").into(),
            burn: locked(include_str!("../../../Cargo.lock"), "burn").into(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
        }
    }
}

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, package: &str) -> &'a str {
    let entry = format!("name = \"{package}\"\nversion = \"");
    let rest = lock.split_once(&entry).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split('"').next())
        .unwrap_or("unknown")
}

/// The record of a run, kept as `run.json` in its folder from the first epoch on.
///
/// ```no_run
/// use std::path::Path;
/// use finetune::history::History;
///
/// let history = History::read(Path::new("runs/minilm-lora-trec/ief-seed1"))?;
/// println!("{:?}: {:?}", history.status, history.test);
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Its state.
    pub status: Status,
    /// Why it is not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The optimizer.
    pub method: OptimizerName,
    /// The seed.
    pub seed: u64,
    /// All settings.
    pub config: Config,
    /// The model.
    pub model: ModelFacts,
    /// Rows for training, validation and test.
    pub rows: [usize; 3],
    /// Fingerprints of the rows and of the model's files; records of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Names of the metrics; the first decides which epoch is the best.
    pub metrics: Vec<String>,
    /// Programs and machine.
    pub versions: Versions,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Training loss of every step.
    pub losses: Vec<f64>,
    /// Time of every step (forward, backward, update), in milliseconds.
    pub milliseconds: Vec<f64>,
    /// Every epoch.
    pub epochs: Vec<Epoch>,
    /// The epoch with the best validation result, from 1: that of the test and of what was saved.
    pub best_epoch: Option<usize>,
    /// Whether the run ended early for want of better validation results.
    pub stopped_early: bool,
    /// On the test rows, with the parameters of the best epoch.
    pub test: Option<Scores>,
    /// Of the answers that the trained model wrote to questions of the test rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswerScores>,
    /// Peak of resident memory in training steps, in MiB; `null` where the system does not report it.
    pub peak_memory_mib: Option<f64>,
    /// Parameters that took their plain gradient, because the K-FAC family has no factors for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plain_gradients: Vec<String>,
}

impl History {
    /// Read the record in a run's folder.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], or [`Error::RunFolder`] for a file that is not a record.
    pub fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let text = reading::text(&path).map_err(|error| Error::read(&path, error))?;
        serde_json::from_str(&text).map_err(|error| Error::RunFolder {
            path,
            problem: format!("not the record of a run: {error}"),
        })
    }

    /// Write the record into a run's folder.
    ///
    /// # Errors
    ///
    /// [`Error::Write`]; the record that was there stays.
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(FILE);
        let text = serde_json::to_string(self).map_err(|error| Error::write(&path, error))?;
        Ok(files::write(&path, text + "\n")?)
    }

    /// How the run is divided.
    pub(crate) fn rounds(&self) -> Rounds {
        Rounds::of(&self.config.training, self.rows[0])
    }

    /// Forget everything after this many epochs.
    pub(crate) fn cut(&mut self, epochs: usize) {
        let steps = epochs.saturating_mul(self.rounds().steps);
        self.losses.truncate(steps);
        self.milliseconds.truncate(steps);
        self.epochs.truncate(epochs);
        self.best_epoch = self.best_of(epochs);
        self.stopped_early = false;
        self.test = None;
        self.answers = None;
        self.reason = None;
    }

    /// The best epoch, once there is one.
    pub(crate) fn best(&self) -> Option<&Epoch> {
        self.epochs.get(self.best_epoch?.checked_sub(1)?)
    }

    /// The run in words.
    pub(crate) fn label(&self) -> String {
        let (name, method) = (&self.config.name, self.method.title());
        format!("{name} {method} seed {}", self.seed)
    }

    /// Why the run is not finished, in words; nothing for a finished run, or one that still runs.
    pub(crate) fn trouble(&self) -> Option<String> {
        let state = match self.status {
            Status::Failed => "failed",
            Status::Interrupted => "was interrupted",
            Status::Running | Status::Finished => return None,
        };
        let reason = self.reason.as_deref().unwrap_or("no reason noted");
        Some(format!("{} {state}: {reason}", self.label()))
    }

    /// The first of this many epochs, from 1, with the best first metric and of these the lowest
    /// loss, on the validation rows.
    pub(crate) fn best_of(&self, epochs: usize) -> Option<usize> {
        let first = self.metrics.first()?;
        let merit = |value: &f64| Metric::merit(first, *value);
        let key = |epoch: &Epoch| (epoch.valid.metrics.get(first).map(merit), -epoch.valid.loss);
        let mut best: Option<(usize, (Option<f64>, f64))> = None;
        for (index, epoch) in self.epochs.iter().take(epochs).enumerate() {
            let key = key(epoch);
            if best.is_none_or(|(_, so_far)| key > so_far) {
                best = Some((index + 1, key));
            }
        }
        best.map(|(epoch, _)| epoch)
    }

    /// Mean training loss over the last epoch; NaN before its end.
    pub fn final_train_loss(&self) -> f64 {
        self.epochs
            .last()
            .map_or(f64::NAN, |epoch| epoch.train_loss)
    }

    /// The first metric on the validation rows in the best epoch; NaN before that.
    pub fn best_valid(&self) -> f64 {
        let name = self.metrics.first();
        let value = self
            .best()
            .zip(name)
            .and_then(|(epoch, name)| epoch.valid.metrics.get(name));
        value.copied().unwrap_or(f64::NAN)
    }

    /// Median time of a step, in milliseconds.
    pub fn ms_per_step(&self) -> f64 {
        median(&self.milliseconds)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use programs::optimizer::optimizer;
    use proptest::prelude::*;

    /// A run of two steps an epoch with these validation results (accuracy, loss).
    pub(crate) fn history(method: OptimizerName, seed: u64, valid: &[(f64, f64)]) -> History {
        let epochs = valid.iter().map(|&(accuracy, loss)| Epoch {
            train_loss: loss / 2.0,
            valid: Scores {
                loss,
                metrics: [("accuracy".to_string(), accuracy)].into(),
            },
        });
        let mut history = History {
            status: Status::Finished,
            reason: None,
            method,
            seed,
            config: Config::default().of_run(method, seed),
            model: ModelFacts {
                architecture: Architecture::Mlp,
                trainable: 1,
                parameters: 2,
            },
            rows: [64, 8, 8],
            inputs: Some(Inputs::default()),
            labels: vec!["a".into(), "b".into()],
            metrics: vec!["accuracy".into()],
            versions: Versions::here(),
            steps_per_epoch: 2,
            losses: (0..2 * valid.len())
                .map(|step| 2.0 / (step + 1) as f64)
                .collect(),
            milliseconds: vec![10.0; 2 * valid.len()],
            epochs: epochs.collect(),
            best_epoch: None,
            stopped_early: false,
            test: None,
            answers: None,
            peak_memory_mib: Some(100.0),
            plain_gradients: Vec::new(),
        };
        history.best_epoch = history.best_of(valid.len());
        history
    }

    #[test]
    fn the_best_epoch_has_the_best_metric_then_the_lowest_loss() {
        let best = |valid: &[(f64, f64)]| history(optimizer("ief"), 1, valid).best_epoch;
        assert_eq!(best(&[]), None);
        assert_eq!(best(&[(0.5, 1.0), (0.7, 2.0), (0.6, 0.1)]), Some(2));
        assert_eq!(best(&[(0.5, 1.0), (0.5, 0.5), (0.5, 0.5)]), Some(2));
    }

    #[test]
    fn cutting_forgets_later_epochs() {
        let mut run = history(optimizer("ief"), 1, &[(0.5, 1.0), (0.7, 2.0), (0.9, 0.1)]);
        run.cut(2);
        assert_eq!(
            (run.losses.len(), run.epochs.len(), run.best_epoch),
            (4, 2, Some(2))
        );
        assert_eq!(run.best_valid(), 0.7);
        assert_eq!(run.final_train_loss(), 1.0);
    }

    #[test]
    fn the_record_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let run = history(OptimizerName::SGD, 3, &[(0.5, 1.0)]);
        run.write(folder.path()).unwrap();
        assert_eq!(History::read(folder.path()).unwrap(), run);
        fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(matches!(
            History::read(folder.path()),
            Err(Error::RunFolder { .. })
        ));
        // A best epoch that a record does not have is none.
        let mut run = run;
        for wrong in [0, 2, usize::MAX] {
            run.best_epoch = Some(wrong);
            assert!(run.best_valid().is_nan());
        }
        run.steps_per_epoch = usize::MAX;
        run.cut(usize::MAX);
    }

    /// Read a record from what it is written as.
    fn again(run: &History) -> History {
        serde_json::from_str(&serde_json::to_string(run).unwrap()).unwrap()
    }

    #[test]
    fn a_step_size_survives_its_record_bit_for_bit() {
        // Parsed without `float_roundtrip` it becomes 0.1783271282911301.
        const STEP_SIZE: f64 = 0.178_327_128_291_130_07;
        let mut run = history(OptimizerName::SGD, 3, &[(0.5, 1.026_768_922_805_786_1)]);
        let mut options = run.config.options(OptimizerName::SGD);
        options.step_size = STEP_SIZE;
        run.config.method.insert(OptimizerName::SGD, options);
        let read = again(&run);
        let step_size = read.config.options(OptimizerName::SGD).step_size;
        assert_eq!(step_size.to_bits(), STEP_SIZE.to_bits());
        assert_eq!(read, run);
    }

    proptest! {
        #[test]
        fn every_number_survives_its_record_bit_for_bit(bits in prop::collection::vec(any::<u64>(), 8)) {
            let mut run = history(OptimizerName::SGD, 3, &[(0.5, 1.0)]);
            let numbers = bits.into_iter().map(f64::from_bits);
            run.losses = numbers.filter(|number| number.is_finite()).collect();
            let read = again(&run).losses;
            let bits = |numbers: &[f64]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read), bits(&run.losses));
        }
    }

    #[test]
    fn a_loss_that_is_not_a_number_can_be_read() {
        let mut run = history(OptimizerName::SGD, 3, &[(0.5, 1.0)]);
        let metrics = [("accuracy".to_string(), f64::NAN)].into();
        run.test = Some(Scores {
            loss: f64::NAN,
            metrics,
        });
        let test = again(&run).test.unwrap();
        assert!(test.loss.is_nan() && test.metrics["accuracy"].is_nan());
    }

    #[test]
    fn the_lock_file_names_burns_version() {
        let versions = Versions::here();
        assert!(versions.burn.starts_with("0."), "{versions:?}");
    }
}
