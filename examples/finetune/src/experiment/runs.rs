//! The runs of an experiment: what is in their folders, how they begin, and what follows them.

use std::cell::Cell;
use std::path::Path;

use burn::data::dataloader::batcher::Batcher;
use burn_peft::Peft;
use programs::optimizer::OptimizerName;
use programs::printing::quoted_list;
use programs::{err_line, files, guard};

use super::compare::differences;
use super::{Experiment, Source, WithModel};
use crate::checkpoint::Checkpoints;
use crate::config::AdapterKind;
use crate::error::Error;
use crate::history::{FILE, History, ModelFacts, Status, Versions};
use crate::model::{FineTune, HEAD, README};
use crate::rounds::Rounds;
use crate::run::{Plan, run};
use crate::stop::Stop;
use crate::target::LABELS;
use crate::test_answers::write_answers;
use crate::{begun, left_over};

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

impl Experiment {
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
                metrics: self.config.task()?.metrics(&self.labels),
                resumed,
                plain: flags.plain,
                device: &self.device,
                shares: &self.shares,
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
        let shares = !self.plan.shares.is_empty();
        let loaders = data.loaders(&config.training, self.seed, self.plan.resumed, shares);
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
