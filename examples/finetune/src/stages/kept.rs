//! A run's folder.

use std::path::{Path, PathBuf};

use burn::data::dataloader::batcher::Batcher;
use burn::train::InferenceStep;
use burn_peft::Peft;
use programs::guard;
use programs::printing::quoted_list;

use super::visit::{Stages, Visit};
use crate::checkpoint::Checkpoints;
use crate::config::{AdapterKind, Config};
use crate::error::Error;
use crate::experiment::{Experiment, Source, WithModel};
use crate::history::{FILE, History, Status};
use crate::log::Answers;
use crate::model::{FineTune, Judged};

/// A run that was trained before, with its data.
///
/// The mean training loss at every stage:
///
/// ```no_run
/// use std::path::Path;
/// use finetune::Error;
/// use finetune::model::Judged;
/// use finetune::stages::{KeptRun, Stages, Visit};
///
/// /// The model's type depends on the run: what is done with it is generic.
/// struct Losses;
///
/// impl Visit for Losses {
///     type Output = Vec<f64>;
///     type Error = Error;
///
///     fn visit<M: Judged>(self, stages: Stages<'_, M>) -> Result<Vec<f64>, Error> {
///         let epochs = stages.epochs().into_iter();
///         epochs.map(|epoch| stages.training_loss(&stages.model(epoch)?, 1000)).collect()
///     }
/// }
///
/// let run = KeptRun::open(Path::new("runs/minilm-lora-trec/ief-seed1"))?;
/// println!("{:?}", run.visit(Losses)?);
/// # Ok::<(), Error>(())
/// ```
pub struct KeptRun {
    folder: PathBuf,
    history: History,
    experiment: Experiment,
}

impl KeptRun {
    /// Read a run's record and its data, and open its device.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::RunFolder`] if there is no record or data or model have changed since,
    /// and the errors of [`Experiment::open`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::open_with(folder, |_| ())
    }

    /// The same, with settings changed: data and model may have moved, the device be another.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(folder: &Path, change: impl FnOnce(&mut Config)) -> Result<Self, Error> {
        let history = History::read(folder)?;
        let mut config = history.config.clone();
        change(&mut config);
        // Stages are looked at, not trained: nothing is left to chance.
        config.model.dropout = false;
        config.adapter.lora_dropout = 0.0;
        let experiment = Experiment::open(config)?;
        if experiment.rows() != history.rows || experiment.labels() != history.labels {
            return Err(Error::RunFolder {
                path: folder.join(FILE),
                problem: format!(
                    "trained on other data: {:?} rows of the classes {}, found {:?} of {}",
                    history.rows,
                    quoted_list(&history.labels),
                    experiment.rows(),
                    quoted_list(experiment.labels())
                ),
            });
        }
        if let Some(inputs) = &history.inputs {
            let changes = inputs.changes(experiment.inputs()?);
            if !changes.is_empty() {
                return Err(Error::RunFolder {
                    path: folder.join(FILE),
                    problem: format!(
                        "trained on other data or another model; changed since it began: {}",
                        changes.join(", ")
                    ),
                });
            }
        }
        Ok(Self {
            folder: folder.into(),
            history,
            experiment,
        })
    }

    /// The run's record.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Epochs whose parameters are there, from 0 for the model before training.
    pub fn epochs(&self) -> Vec<usize> {
        let kept = Checkpoints::of(&self.folder).kept();
        let last = self.history.epochs.len();
        let kept = kept.into_iter().filter(|epoch| (1..=last).contains(epoch));
        std::iter::once(0).chain(kept).collect()
    }

    /// Show the run's stages to a visitor, which is generic over the types of model and batch.
    ///
    /// Seeds the device's random numbers.
    ///
    /// # Errors
    ///
    /// The visitor's, and those of the model's folder and the adapter; [`Error::RunFolder`] if the
    /// model has other parameters than the one that was trained.
    pub fn visit<V: Visit>(&self, visitor: V) -> Result<V::Output, V::Error> {
        let opened = Opened { run: self, visitor };
        let run = self.history.label();
        let visited = guard::catch(|| self.experiment.with_model(self.history.seed, opened));
        visited.unwrap_or_else(|panic| Err(Error::Panic { what: run, panic }.into()))
    }

    pub(super) fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    /// The model with the parameters of an epoch.
    pub(super) fn at<M: Judged>(&self, model: M, epoch: usize) -> Result<M, Error> {
        let epochs = self.epochs();
        if !epochs.contains(&epoch) {
            return Err(Error::RunFolder {
                path: self.folder.clone(),
                problem: format!(
                    "no parameters of epoch {epoch}, only of {epochs:?}; --keep-checkpoints keeps \
                     those of all epochs"
                ),
            });
        }
        match epoch {
            0 => Ok(model),
            _ => Checkpoints::of(&self.folder).load_proper(model, epoch),
        }
    }
}

/// Refuse a run that did not leave a whole trained model behind.
pub(crate) fn check_full(folder: &Path, history: &History) -> Result<(), Error> {
    let refuse = |problem: String| {
        Err(Error::RunFolder {
            path: folder.into(),
            problem,
        })
    };
    let kind = history.config.adapter.kind;
    if kind != AdapterKind::Full {
        let kind = format!("{kind:?}").to_lowercase();
        return refuse(format!(
            "expected a model that was trained in full (`--adapter full`), found {kind}"
        ));
    }
    match history.status {
        Status::Finished => Ok(()),
        status => {
            let status = format!("{status:?}").to_lowercase();
            refuse(format!("expected a finished run, this one is {status}"))
        }
    }
}

/// A visitor on its way to the model.
struct Opened<'a, V> {
    run: &'a KeptRun,
    visitor: V,
}

impl<V: Visit> WithModel for Opened<'_, V> {
    type Output = V::Output;
    type Error = V::Error;

    fn apply<M, I, T>(self, model: M, data: Source<'_, I, T>) -> Result<V::Output, V::Error>
    where
        M: FineTune,
        I: Clone + Send + Sync + 'static,
        T: Batcher<I, M::Batch> + Clone + 'static,
    {
        // Parameters come into being when they are looked at: in the order of a run.
        let found = model.trainable().trainable;
        let expected = self.run.history.model.trainable;
        if found != expected {
            let error = Error::RunFolder {
                path: self.run.folder.clone(),
                problem: format!("trained {expected} parameters, the model has {found}"),
            };
            return Err(error.into());
        }
        let model_at = |epoch| self.run.at(model.clone(), epoch);
        let optimizer_at = |epoch| Checkpoints::of(&self.run.folder).optimizer(epoch);
        let batch = |rows: &[usize], device: &_| data.training_batch(rows, device);
        let KeptRun {
            folder,
            history,
            experiment,
        } = self.run;
        let trained = || {
            check_full(folder, history)?;
            model.clone().load_full(folder)
        };
        let metrics = experiment.config().task()?.metrics(experiment.labels());
        let device = experiment.device().clone().inner();
        let test = |model: &M| {
            let loaders =
                data.loaders::<M::Batch>(&history.config.training, history.seed, 0, false);
            let model = model.valid();
            let mut answers = Answers::default();
            for batch in loaders.test.to_device(&device).iter() {
                let batch = batch.map_err(|error| Error::Stopped {
                    run: folder.display().to_string(),
                    reason: error.to_string(),
                })?;
                answers.add(&InferenceStep::step(&model, batch));
            }
            Ok(answers.scores(&metrics, experiment.labels()))
        };
        self.visitor.visit(Stages {
            history: self.run.history(),
            experiment: self.run.experiment(),
            epochs: self.run.epochs(),
            head: model.head(),
            model_at: &model_at,
            optimizer_at: &optimizer_at,
            trained: &trained,
            batch: &batch,
            test: &test,
        })
    }
}
