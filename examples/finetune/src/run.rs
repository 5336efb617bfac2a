//! One run: one method, one seed, in a `burn::train` learner.

use std::path::Path;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::module::{Module, ModuleDisplay};
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use burn::train::logger::InMemoryMetricLogger;
use burn::train::metric::{AccuracyMetric, LearningRateMetric, LossMetric};
use burn::train::{
    ExecutionStrategy, InferenceStep, Interrupter, Learner, LearnerModel, SupervisedTraining,
    TrainStep, TrainingStrategy,
};
use burn_ief::train::{DataParallel, NaturalModel};
use programs::err_line;
use programs::learner::Watched;
use programs::printing::message;

use crate::checkpoint::{Checkpoints, Patience};
use crate::display::display;
use crate::error::Error;
use crate::first_order::FirstOrder;
use crate::history::{History, Scores, Status};
use crate::log::Log;
use crate::metric::Metric;
use crate::model::{Destination, FineTune, Outcome, write_card};
use crate::stop::Stop;

/// What the TUI says when its user stops the training.
const STOPPED_IN_TUI: &str = "Stopping training from user input.";

/// Batches of one run.
pub(crate) struct Loaders<B> {
    pub train: Arc<dyn DataLoader<B>>,
    pub valid: Arc<dyn DataLoader<B>>,
    pub test: Arc<dyn DataLoader<B>>,
}

/// How to run.
pub(crate) struct Plan<'a> {
    /// Of the run.
    pub folder: &'a Path,
    /// Metrics of the task.
    pub metrics: Vec<Metric>,
    /// Epochs that are done.
    pub resumed: usize,
    /// Lines instead of the full screen.
    pub plain: bool,
    pub device: &'a Device,
    /// All devices, where several share every batch; empty for a training on one.
    pub shares: &'a [Device],
    pub stop: &'a Stop,
}

/// Train a model and test it with the parameters of its best epoch; `history` is the record so far.
///
/// # Errors
///
/// [`Error::Interrupted`] and [`Error::Stopped`], noted in the record, with the checkpoints kept. All others
/// are for [`begun`](crate::begun) to note.
pub(crate) fn run<M: FineTune>(
    model: M,
    loaders: Loaders<M::Batch>,
    history: History,
    plan: &Plan<'_>,
) -> Result<History, Error> {
    let stop = Interrupter::new();
    plan.stop.attach(&stop);
    let options = history.config.options(history.method);
    let optimizer = options.optimizer.with_seed(history.seed);
    let optimizer = optimizer.with_classes(history.labels.len());
    let (optim, natural) = optimizer.for_learner()?;
    let log = Log::new(history, plan.folder, plan.metrics.clone(), stop.clone());
    match natural {
        None => {
            let model = FirstOrder::new(model, &log.history().config.training);
            let model = Watched::new(model, log.clone());
            let strategy = ExecutionStrategy::SingleDevice(plan.device.clone());
            let run = Run {
                loaders,
                plan,
                log,
                stop,
            };
            run.start(
                model,
                optim,
                strategy.into(),
                |_| Vec::new(),
                |model, to| model.model.model().save(to),
            )
        }
        Some(natural) => {
            let model = Watched::new(model, log.clone());
            let model = NaturalModel::new(model, natural).with_interrupter(stop.clone());
            let strategy = if plan.shares.is_empty() {
                ExecutionStrategy::SingleDevice(plan.device.clone()).into()
            } else {
                DataParallel::new(plan.shares.to_vec()).into()
            };
            let run = Run {
                loaders,
                plan,
                log,
                stop,
            };
            run.start(model, optim, strategy, plain_gradients, |model, to| {
                model.model().model.save(to)
            })
        }
    }
}

/// Parameters that the K-FAC family left their plain gradient in the last step.
fn plain_gradients<M: Module>(model: &NaturalModel<M>) -> Vec<String> {
    let report = model.last_report().and_then(|report| report.factors);
    report.map_or_else(Vec::new, |factors| factors.plain)
}

struct Run<'a, B> {
    loaders: Loaders<B>,
    plan: &'a Plan<'a>,
    log: Log,
    stop: Interrupter,
}

impl<B: Send + 'static> Run<'_, B> {
    fn start<W>(
        self,
        model: W,
        optim: ModuleOptimizer,
        strategy: TrainingStrategy<W>,
        plain: impl FnOnce(&W) -> Vec<String>,
        save: impl FnOnce(&W, &Destination<'_>) -> Result<(), Error>,
    ) -> Result<History, Error>
    where
        W: LearnerModel
            + ModuleDisplay
            + TrainStep<Input = B, Output = Outcome>
            + InferenceStep<Input = B, Output = Outcome>,
    {
        let checkpoints = Checkpoints::of(self.plan.folder);
        if self.has_epochs_left() {
            match self.train(model.clone(), optim, strategy, &checkpoints) {
                Ok(()) => {}
                Err(Error::Stopped { run, reason }) => {
                    let kept = self.keep_best(model, &checkpoints, save);
                    let reason = format!("{reason}{kept}");
                    return Err(Error::Stopped { run, reason });
                }
                Err(error) => return Err(error),
            }
            // Clones of the model share the report of the last step.
            let plain = plain(&model);
            self.log.change(|history| history.plain_gradients = plain);
        }
        let history = self.log.history();
        let best = history.best_epoch.unwrap_or(history.epochs.len());
        let model = checkpoints.load(model, best)?.valid();
        let test = match self.test(&model)? {
            Some(scores) => scores,
            None => return Err(self.interrupted()),
        };
        self.save(&model, save, Some(&test))?;
        if !test.loss.is_finite() {
            let reason = format!("{}; the model is saved", not_finite(best, &test));
            self.close(Status::Failed, &reason);
            let run = history.label();
            return Err(Error::Stopped { run, reason });
        }
        self.log.change(|history| {
            history.test = Some(test);
            history.status = Status::Finished;
        });
        self.log.write()?;
        if !history.config.training.keep_checkpoints
            && let Err(error) = checkpoints.remove()
        {
            // The run is finished nevertheless.
            err_line!("warning: {}", message(&error));
        }
        Ok(self.log.history())
    }

    /// Test and save the model of the best epoch of a training that failed later; says what became of it.
    fn keep_best<W>(
        &self,
        model: W,
        checkpoints: &Checkpoints,
        save: impl FnOnce(&W, &Destination<'_>) -> Result<(), Error>,
    ) -> String
    where
        W: Module + ModuleDisplay + InferenceStep<Input = B, Output = Outcome>,
    {
        let Some(best) = self.log.history().best_epoch else {
            return "; no epoch was complete".into();
        };
        let kept = checkpoints.load(model, best).and_then(|model| {
            let model = model.valid();
            let test = self.test(&model)?;
            self.save(&model, save, test.as_ref())?;
            Ok(test)
        });
        match kept {
            Ok(Some(test)) if test.loss.is_finite() => {
                self.log.change(|history| history.test = Some(test));
                if let Err(error) = self.log.write() {
                    err_line!("warning: {}", message(&error));
                }
                format!("; the model of epoch {best}, the best one, is tested and saved")
            }
            Ok(Some(test)) => format!(
                "; the model of epoch {best} is saved, but {}",
                not_finite(best, &test)
            ),
            Ok(None) => format!("; the model of epoch {best}, the best one, is saved"),
            Err(error) => format!("; the model of epoch {best} could not be saved: {error}"),
        }
    }

    fn save<W>(
        &self,
        model: &W,
        save: impl FnOnce(&W, &Destination<'_>) -> Result<(), Error>,
        test: Option<&Scores>,
    ) -> Result<(), Error> {
        let mut history = self.log.history();
        save(
            model,
            &Destination::new(self.plan.folder, &history.config, &history.labels),
        )?;
        history.test = test.cloned();
        write_card(self.plan.folder, &history)
    }

    fn has_epochs_left(&self) -> bool {
        let history = self.log.history();
        let done = history.epochs.len();
        let patience = history.config.training.patience;
        done < history.rounds().count && !(done > 0 && self.log.out_of_patience(patience))
    }

    fn train<W>(
        &self,
        model: W,
        optim: ModuleOptimizer,
        strategy: TrainingStrategy<W>,
        checkpoints: &Checkpoints,
    ) -> Result<(), Error>
    where
        W: LearnerModel
            + ModuleDisplay
            + TrainStep<Input = B, Output = Outcome>
            + InferenceStep<Input = B, Output = Outcome>,
    {
        let history = self.log.history();
        let options = history.config.options(history.method);
        let training = &history.config.training;
        let rounds = history.rounds();
        let schedule: ModuleLrScheduler = options.schedule.build(
            options.step_size,
            rounds.steps_per_epoch,
            rounds.total_steps,
        )?;
        let label = history.label();
        if self.plan.resumed > 0 {
            // The learner panics where a checkpoint does not fit.
            checkpoints.load(model.clone(), self.plan.resumed)?;
        }
        let display = display(
            &label,
            &self.log,
            &self.stop,
            self.plan.resumed,
            self.plan.plain,
        );
        let mut learner = SupervisedTraining::new(
            self.plan.folder,
            self.loaders.train.clone(),
            self.loaders.valid.clone(),
        )
        .num_epochs(rounds.count)
        .label(&label)
        .with_training_strategy(strategy)
        .with_interrupter(self.stop.clone())
        // The record is the log.
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
        .renderer(display)
        .metric_train_numeric(LossMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .metric_train_numeric(LearningRateMetric::new())
        .early_stopping(Patience {
            log: self.log.clone(),
            epochs: training.patience,
        });
        if self.plan.metrics.contains(&Metric::Accuracy) {
            learner = learner.metric_valid_numeric(AccuracyMetric::new());
        }
        if training.accumulation > 1 {
            learner = learner.grads_accumulation(training.accumulation);
        }
        learner = checkpoints.attach(learner, &model, &self.log)?;
        if self.plan.resumed > 0 {
            learner = learner.checkpoint(self.plan.resumed);
        }
        let result = learner.launch(Learner::new(model, optim, schedule));
        let error = result.error.as_ref().map(ToString::to_string);
        drop(result);
        self.check(&label, error)
    }

    /// Why a training ended, if not for having come to its end.
    fn check(&self, label: &str, error: Option<String>) -> Result<(), Error> {
        let history = self.log.history();
        let ended = history.stopped_early || history.epochs.len() == history.rounds().count;
        // The full screen forgets that a training was stopped, but not what for.
        let message = self.stop.get_message();
        let (reason, can_go_on) = match (self.log.failure(), error, message) {
            (Some(failure), ..) => failure,
            (None, Some(error), _) => (error, true),
            (None, None, _) if ended => return Ok(()),
            (None, None, Some(message)) if message != STOPPED_IN_TUI => (message, false),
            _ => return Err(self.interrupted()),
        };
        self.close(
            if can_go_on {
                Status::Interrupted
            } else {
                Status::Failed
            },
            &reason,
        );
        let run = label.into();
        Err(if can_go_on {
            Error::Interrupted {
                run,
                reason: format!(
                    "{reason}; {}",
                    Checkpoints::of(self.plan.folder).kept_in_words()
                ),
            }
        } else {
            Error::Stopped { run, reason }
        })
    }

    fn interrupted(&self) -> Error {
        self.close(Status::Interrupted, "by the user");
        Error::Interrupted {
            run: self.log.history().label(),
            reason: Checkpoints::of(self.plan.folder).kept_in_words(),
        }
    }

    /// Note why a run ends here; the epochs that were written before stay if this cannot be.
    fn close(&self, status: Status, reason: &str) {
        self.log.change(|history| {
            history.status = status;
            history.reason = Some(message(&reason));
        });
        if let Err(error) = self.log.write() {
            err_line!("warning: {}", message(&error));
        }
    }

    /// Loss and metrics on the test rows; `None` if the user stopped the program.
    fn test<W>(&self, model: &W) -> Result<Option<Scores>, Error>
    where
        W: Module + InferenceStep<Input = B, Output = Outcome>,
    {
        // Answers of a validation that broke off.
        self.log.scores();
        let loader = self
            .loaders
            .test
            .to_device(&self.plan.device.clone().inner());
        for batch in loader.iter() {
            if self.plan.stop.requested() {
                return Ok(None);
            }
            let batch = batch.map_err(|error| Error::Stopped {
                run: self.log.history().label(),
                reason: error.to_string(),
            })?;
            InferenceStep::step(model, batch);
        }
        Ok(Some(self.log.scores()))
    }
}

fn not_finite(epoch: usize, test: &Scores) -> String {
    format!(
        "the test loss of the model of epoch {epoch} is {}",
        test.loss
    )
}
