//! Runs of one configuration: data, model, method and seed.

mod batches;
mod compare;
mod conversations;
mod memory;
mod with_model;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::Device;
use burn_peft::Peft;
use programs::lock::{FolderLock, LockError};
use programs::printing::quoted_list;
use programs::{err_line, files, guard};

use crate::checkpoint::Checkpoints;
use crate::config::{AdapterKind, Architecture, Config};
use crate::conversation::Sample;
use crate::data::{Dataset, ImageBatcher, Splits};
use crate::error::Error;
use crate::history::{FILE, History, ModelFacts, Status, Versions};
use crate::inputs::{Inputs, Rows};
use crate::model::{FineTune, HEAD, README, architecture, kind_of_folder, normalization};
use crate::rounds::Rounds;
use crate::run::{Plan, run};
use crate::stop::Stop;
use crate::target::LABELS;
use crate::test_answers::write_answers;
use crate::{begun, left_over};
use batches::{Data, Parts, image_size, texts};
use compare::differences;
use conversations::conversations;
use memory::Extent;
use programs::optimizer::OptimizerName;

pub(crate) use batches::Source;
pub(crate) use with_model::WithModel;

/// Steps of the longest run: schedules count them in 64-bit floats.
const MOST_STEPS: f64 = 9e15;

/// What to do about runs that are there already, and how to show those in progress.
///
/// ```
/// use finetune::experiment::Flags;
///
/// let flags = Flags { resume: true, ..Flags::default() };
/// assert!(!flags.force);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags {
    /// Go on with runs that are not finished.
    pub resume: bool,
    /// Start runs again, whatever is there.
    pub force: bool,
    /// Lines instead of the full screen.
    pub plain: bool,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It was finished before and was left alone.
    Before(History),
    /// It is finished now.
    Now(History),
}

impl Ended {
    /// The record.
    pub fn history(&self) -> &History {
        match self {
            Self::Before(history) | Self::Now(history) => history,
        }
    }
}

/// Data and device of all runs of a configuration.
///
/// ```no_run
/// use finetune::experiment::{Experiment, Flags};
/// use programs::optimizer::optimizer;
/// use finetune::preset::Preset;
/// use finetune::stop::Stop;
///
/// let experiment = Experiment::open(Preset::MinilmLoraTrec.config())?;
/// let ended = experiment.run(optimizer("ief"), 1, Flags::default(), &Stop::default())?;
/// println!("{:?}", ended.history().test);
/// # Ok::<(), finetune::Error>(())
/// ```
pub struct Experiment {
    config: Config,
    architecture: Architecture,
    device: Device,
    data: Data,
    rows: [usize; 3],
    fingerprints: Rows,
    inputs: OnceLock<Inputs>,
    labels: Vec<String>,
    /// Test rows whose questions the trained model answers.
    questions: Vec<Sample>,
    notes: Vec<String>,
    /// Folders that this process writes into, from the first run in them to the end.
    locks: Mutex<Vec<(PathBuf, FolderLock)>>,
}

impl Experiment {
    /// Read the data for the configured model, and open the device.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], [`Error::Data`], [`Error::Model`] and the errors of
    /// [`DeviceKind::open`](programs::DeviceKind::open).
    pub fn open(mut config: Config) -> Result<Self, Error> {
        config.validate()?;
        if let Some(folder) = &config.adapter.from {
            config.adapter.kind = kind_of_folder(folder)?;
        }
        let task = config.task()?;
        let architecture = architecture(&config)?;
        let pictures = matches!(
            architecture,
            Architecture::Vit | Architecture::Dinov2 | Architecture::Mlp
        );
        if pictures != task.is_image() {
            let expected = if pictures {
                "a task of pictures for this model"
            } else {
                "a task of texts for this model"
            };
            let found = serde_json::to_string(&task).unwrap_or_default();
            return Err(Error::config("task", found, expected));
        }
        if task.is_language() != (architecture == Architecture::Causal) {
            let expected = if task.is_language() {
                "a model that goes on with texts (llama, qwen2 and the like) for this task"
            } else {
                "for this model one of the tasks chat, instruct, completion and text"
            };
            let found = serde_json::to_string(&task).unwrap_or_default();
            return Err(Error::config("task", found, expected));
        }
        let mut device = config.device.open()?;
        if config.training.gradient_checkpointing {
            device = device.gradient_checkpointing();
        }
        let size = image_size(&config, architecture)?;
        if task.is_image() {
            // Scaling many pictures takes a while.
            memory::check(&config, architecture, &Extent::pictures(size))?;
        }
        let dataset = task.load(&config.data_source(size)?)?;
        let mut rows = dataset.sizes();
        for (part, rows) in ["train", "valid", "test"].into_iter().zip(rows) {
            if rows == 0 {
                let field = format!("data: rows for {part}");
                return Err(Error::config(field, 0, "at least 1"));
            }
        }
        let labels = dataset.labels().to_vec();
        let fingerprints = Rows::of(&dataset);
        let mut notes = Vec::new();
        let mut questions = Vec::new();
        if !task.is_language() {
            notes.push(format!(
                "{} rows for training, {} for validation, {} for the test; {}",
                rows[0],
                rows[1],
                rows[2],
                dataset.left_out()
            ));
        }
        let data = match dataset {
            Dataset::Image(splits) => {
                let (mean, std) = normalization(config.model.folder.as_deref(), architecture)?;
                let batcher = ImageBatcher::new(size, mean, std)?;
                let Splits {
                    train, valid, test, ..
                } = splits;
                Data::Image(Parts([train, valid, test].map(Arc::new)), batcher, size)
            }
            Dataset::Text(splits) => texts(&config, architecture, &splits, &mut notes)?,
            Dataset::Language(found) => {
                let wanted = found.splits.test.iter();
                questions.extend(wanted.take(config.training.eval_generate).cloned());
                let data = conversations(&config, &found, &mut notes)?;
                // Samples that lost their answers are left out.
                rows = data.rows();
                data
            }
        };
        let extent = Extent::of(&data, rows, labels.len());
        memory::check(&config, architecture, &extent)?;
        let rounds = Rounds::of(&config.training, rows[0]);
        if rounds.total_steps as f64 > MOST_STEPS {
            let (field, found, unit) = match config.training.max_steps {
                Some(steps) => ("training.max_steps", steps, 1.0),
                None => {
                    let epochs = config.training.epochs;
                    ("training.epochs", epochs, rounds.steps_per_epoch as f64)
                }
            };
            let expected = format!("at most {}", (MOST_STEPS / unit).floor());
            return Err(Error::config(field, found, expected));
        }
        Ok(Self {
            config,
            architecture,
            device,
            data,
            rows,
            fingerprints,
            inputs: OnceLock::new(),
            labels,
            questions,
            notes,
            locks: Mutex::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the user should know about the data.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Rows for training, validation and test.
    pub(crate) fn rows(&self) -> [usize; 3] {
        self.rows
    }

    /// Names of the classes.
    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Fingerprints of data and model; the model's files are read once.
    pub(crate) fn inputs(&self) -> Result<&Inputs, Error> {
        if let Some(inputs) = self.inputs.get() {
            return Ok(inputs);
        }
        let inputs = Inputs::of(
            self.fingerprints.clone(),
            self.config.model.folder.as_deref(),
            self.config.adapter.from.as_deref(),
        )?;
        Ok(self.inputs.get_or_init(|| inputs))
    }

    /// Bytes of a row in a batch.
    pub(crate) fn row_bytes(&self) -> f64 {
        self.data.row_bytes()
    }

    /// Let no other process write into a folder before this one ends.
    pub(crate) fn lock(&self, folder: &Path) -> Result<(), Error> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.iter().any(|(locked, _)| locked == folder) {
            return Ok(());
        }
        let lock = FolderLock::take(folder).map_err(|error| match error {
            LockError::Write(error) => Error::Write(error),
            held => Error::Locked(held),
        })?;
        locks.push((folder.into(), lock));
        Ok(())
    }

    /// The configuration, to be changed in what data and model do not depend on.
    pub(crate) fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Where a run is kept.
    pub fn folder(&self, method: OptimizerName, seed: u64) -> PathBuf {
        self.config
            .out
            .join(format!("{}-seed{seed}", method.name()))
    }

    /// Train with one method and seed, test, and save.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another process writes into the configured folder, [`Error::RunFolder`] if
    /// another run or an unfinished one is there, and the errors of models and adapters before the run
    /// begins; [`Error::Stopped`] and [`Error::Interrupted`] if it breaks off.
    pub fn run(
        &self,
        method: OptimizerName,
        seed: u64,
        flags: Flags,
        stop: &Stop,
    ) -> Result<Ended, Error> {
        self.lock(&self.config.out)?;
        let folder = self.folder(method, seed);
        let there = self.there(&folder, method, seed, flags)?;
        let keep = self.config.training.keep_checkpoints;
        let history = match there {
            There::Finished(history) => {
                left_over::remove(&folder, Some(&history), keep);
                let history = self.answer(*history, &folder, stop)?;
                return Ok(Ended::Before(history));
            }
            There::Unfinished(history) => Some(*history),
            There::Nothing => None,
        };
        left_over::remove(&folder, None, keep);
        let checkpoints = Checkpoints::of(&folder);
        let resumed = history
            .as_ref()
            .map_or(0, |history| checkpoints.last(history.epochs.len()));
        if resumed == 0 {
            checkpoints.remove()?;
        }
        let begun = Cell::new(false);
        let start = Start {
            experiment: self,
            method,
            seed,
            history: history.filter(|_| resumed > 0),
            begun: &begun,
            plan: Plan {
                folder: &folder,
                metrics: self.config.task()?.metrics(),
                resumed,
                plain: flags.plain,
                device: &self.device,
                stop,
            },
        };
        let outcome = guard::catch(|| self.with_model(seed, start));
        let run = format!("{} {} seed {seed}", self.config.name, method.title());
        let history = begun::ended(outcome, begun.get(), run, &folder)?;
        self.answer(history, &folder, stop).map(Ended::Now)
    }

    /// Let the model of a finished run answer what is configured, unless it has.
    fn answer(&self, mut history: History, folder: &Path, stop: &Stop) -> Result<History, Error> {
        if self.questions.is_empty() || history.answers.is_some() {
            return Ok(history);
        }
        err_line!(
            "{}: writing answers to {} test rows",
            history.label(),
            self.questions.len()
        );
        let most = self.config.training.max_new_tokens;
        let device = self.device.clone().inner();
        let Some(scores) = write_answers(folder, &self.questions, most, &device, stop)? else {
            return Err(Error::Interrupted {
                run: history.label(),
                reason: "training is finished, the answers are not: the same command goes on"
                    .into(),
            });
        };
        history.answers = Some(scores);
        history.write(folder)?;
        Ok(history)
    }

    /// Find out whether a run can begin, or is finished, as far as its folder decides that.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] and [`Error::RunFolder`]; a run that failed before is no reason for others not to begin.
    pub fn check_folder(
        &self,
        method: OptimizerName,
        seed: u64,
        flags: Flags,
    ) -> Result<(), Error> {
        self.lock(&self.config.out)?;
        let folder = self.folder(method, seed);
        match self.there(&folder, method, seed, flags) {
            Ok(_) | Err(Error::Stopped { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What is in a run's folder.
    fn there(
        &self,
        folder: &Path,
        method: OptimizerName,
        seed: u64,
        flags: Flags,
    ) -> Result<There, Error> {
        if flags.force || !folder.join(FILE).exists() {
            return Ok(There::Nothing);
        }
        let history = History::read(folder)?;
        let refuse = |problem: String| {
            Err(Error::RunFolder {
                path: folder.into(),
                problem,
            })
        };
        let differences = differences(&history.config, &self.config.of_run(method, seed));
        if !differences.is_empty() {
            return refuse(format!(
                "holds a run with other settings ({}); choose another --out, or --force to \
                 replace it",
                shortened(&differences)
            ));
        }
        if let Some(before) = &history.inputs {
            let mut changes = before.changes(self.inputs()?);
            if history.labels != self.labels {
                let [before, now] = [&history.labels, &self.labels].map(quoted_list);
                changes.push(format!("the classes ({before} before, {now} now)"));
            }
            if !changes.is_empty() {
                return refuse(format!(
                    "holds a run with other inputs; changed since it began: {}. Restore them, choose another \
                     --out, or --force to replace it",
                    changes.join(", ")
                ));
            }
        }
        match history.status {
            Status::Finished => Ok(There::Finished(Box::new(history))),
            Status::Failed => Err(Error::Stopped {
                run: folder.display().to_string(),
                reason: format!(
                    "{} (in an earlier call; --force starts it again)",
                    history.reason.as_deref().unwrap_or("no reason noted")
                ),
            }),
            _ if flags.resume => Ok(There::Unfinished(Box::new(history))),
            _ => refuse(
                "holds an unfinished run; --resume goes on with it, --force starts it again".into(),
            ),
        }
    }
}

enum There {
    Nothing,
    Unfinished(Box<History>),
    Finished(Box<History>),
}

/// The first of differences, with the count of all others.
fn shortened(differences: &[String]) -> String {
    const SHOWN: usize = 8;
    let (shown, more) = differences.split_at(differences.len().min(SHOWN));
    match more.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A run that is about to begin.
struct Start<'a> {
    experiment: &'a Experiment,
    method: OptimizerName,
    seed: u64,
    history: Option<History>,
    /// Whether its record says `running`.
    begun: &'a Cell<bool>,
    plan: Plan<'a>,
}

impl WithModel for Start<'_> {
    type Output = History;
    type Error = Error;

    fn apply<M, I, T>(self, model: M, data: Source<'_, I, T>) -> Result<History, Error>
    where
        M: FineTune,
        I: Clone + Send + Sync + 'static,
        T: Batcher<I, M::Batch> + Clone + 'static,
    {
        let Experiment { config, .. } = self.experiment;
        let steps = Rounds::of(&config.training, self.experiment.rows[0]).steps_per_epoch;
        let loaders = data.loaders(&config.training, self.seed, self.plan.resumed);
        let trainable = model.trainable();
        let mut history = self.history.unwrap_or_else(|| History {
            status: Status::Running,
            reason: None,
            method: self.method,
            seed: self.seed,
            config: config.of_run(self.method, self.seed),
            model: ModelFacts {
                architecture: self.experiment.architecture,
                trainable: trainable.trainable,
                parameters: trainable.all,
            },
            rows: self.experiment.rows,
            inputs: None,
            labels: self.experiment.labels.clone(),
            metrics: names(&self.plan),
            versions: Versions::here(),
            steps_per_epoch: steps,
            losses: Vec::new(),
            milliseconds: Vec::new(),
            epochs: Vec::new(),
            best_epoch: None,
            stopped_early: false,
            test: None,
            answers: None,
            peak_memory_mib: None,
            plain_gradients: Vec::new(),
        });
        history.cut(self.plan.resumed);
        history.inputs = Some(self.experiment.inputs()?.clone());
        history.status = Status::Running;
        // What cannot be written shows before the first step.
        check_outputs(self.plan.folder, config.adapter.kind)?;
        history.write(self.plan.folder)?;
        self.begun.set(true);
        run(model, loaders, history, &self.plan)
    }
}

/// Make a run's folder, and check that what it will hold can be written.
fn check_outputs(folder: &Path, kind: AdapterKind) -> Result<(), Error> {
    files::make_folder(folder)?;
    let (inner, names): (_, &[&str]) = match kind {
        AdapterKind::Full => ("model", &["model.safetensors", "config.json", HEAD, README]),
        _ => (
            "adapter",
            &[
                "adapter_config.json",
                "adapter_model.safetensors",
                LABELS,
                HEAD,
                README,
            ],
        ),
    };
    for inner in ["checkpoint", inner] {
        files::check_output_folder(&folder.join(inner))?;
    }
    let inner = folder.join(inner);
    for name in names.iter().filter(|_| inner.exists()) {
        files::check_output(&inner.join(name))?;
    }
    Ok(())
}

fn names(plan: &Plan<'_>) -> Vec<String> {
    plan.metrics
        .iter()
        .map(|metric| metric.name().into())
        .collect()
}
