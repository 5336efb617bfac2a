//! One training run in a `burn::train` learner.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::composed::ComposedLrSchedulerConfig;
use burn::lr_scheduler::linear::LinearLrSchedulerConfig;
use burn::module::{Module, ModuleDisplay};
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor};
use burn::train::logger::InMemoryMetricLogger;
use burn::train::{
    ClassificationOutput, ExecutionStrategy, InferenceStep, Interrupter, Learner,
    SupervisedTraining, TrainStep,
};
use burn_ief::train::EpochLoader;
use programs::statistics::{mean, median};
use programs::training::{Progress, StepLog, Watched};

use crate::data::{Batch, DigitBatcher, Split};
use crate::error::Error;

/// Images in a batch.
pub const BATCH: usize = 32;

/// How to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the progress display calls the run.
    pub label: String,
    /// Passes over the training images.
    pub epochs: usize,
    /// Seed of the order of the images.
    pub seed: u64,
    /// First step size; it falls linearly to zero.
    pub step_size: f64,
}

impl Plan {
    fn stopped(&self, reason: String) -> Error {
        Error::stopped(&self.label, reason)
    }
}

/// What a run recorded.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Training loss of every step.
    pub losses: Vec<f64>,
    /// Time of every step (forward, backward, update), in milliseconds.
    pub milliseconds: Vec<f64>,
    /// Share of the test images that the model gets right, after every epoch.
    pub accuracies: Vec<f64>,
    pub(crate) started: Option<Instant>,
}

impl History {
    /// Mean training loss over the last of `epochs` epochs.
    pub fn final_train_loss(&self, epochs: usize) -> f64 {
        let steps = self.losses.len() / epochs.max(1);
        mean(&self.losses[self.losses.len() - steps..])
    }

    /// Test accuracy after the last epoch.
    pub fn test_accuracy(&self) -> f64 {
        self.accuracies.last().copied().unwrap_or(f64::NAN)
    }

    fn last_step(&self) -> Option<(f64, f64)> {
        let loss = self.losses.last().copied();
        loss.zip(self.milliseconds.last().copied())
    }

    /// Median time of a step, in milliseconds.
    pub fn ms_per_step(&self) -> f64 {
        median(&self.milliseconds)
    }
}

/// Train `model` on the training images; returns it (ready for inference) and what was recorded.
///
/// A step that fails stops the run through `interrupter`.
///
/// # Errors
///
/// [`Error::Stopped`] if the run did not come to its end.
pub fn fit<M>(
    model: M,
    optim: ModuleOptimizer,
    split: &Split,
    plan: &Plan,
    interrupter: Interrupter,
    device: &Device,
) -> Result<(M, History), Error>
where
    M: Module + ModuleDisplay + Classifier + 'static,
{
    let loader = |digits: &[crate::data::Digit], batch| {
        EpochLoader::new(
            DigitBatcher,
            InMemDataset::new(digits.to_vec()),
            batch,
            plan.seed,
        )
        .build()
    };
    let train = loader(&split.train, BATCH);
    let test = loader(&split.test, split.test.len().max(1));
    let steps = plan.epochs * split.train.len().div_ceil(BATCH);

    let log = Log::default();
    let progress = {
        let log = log.clone();
        Progress::new(&plan.label, move || log.lock().last_step())
    };
    let training = SupervisedTraining::new("", train, test)
        .num_epochs(plan.epochs)
        .with_training_strategy(ExecutionStrategy::SingleDevice(device.clone()).into())
        .with_interrupter(interrupter)
        // Nothing goes to files: the history is the record.
        .with_metric_logger(InMemoryMetricLogger::new())
        .with_application_logger(None)
        .renderer(Box::new(progress));
    let model = Watched::new(model, log.clone());
    // A factor from 1 to 0: Burn's linear schedule starts at 1 at most, iEF can start above.
    let schedule = ComposedLrSchedulerConfig::new()
        .constant(plan.step_size)
        .linear(LinearLrSchedulerConfig::new(1.0, 0.0, steps))
        .init()
        .map_err(|reason| plan.stopped(reason))?;
    let result = training.launch(Learner::new(model, optim, schedule));

    let reason = match (&result.error, &result.interrupted) {
        (Some(error), _) => Some(error.to_string()),
        (None, Some(stop)) => Some(stop.reason.clone().unwrap_or_else(|| "interrupted".into())),
        (None, None) => None,
    };
    if let Some(reason) = reason {
        return Err(plan.stopped(reason));
    }
    let history = log.lock().clone();
    Ok((result.model.model, history))
}

/// A model that [`fit`] can train.
pub trait Classifier:
    TrainStep<Input = Batch, Output = ClassificationOutput>
    + InferenceStep<Input = Batch, Output = ClassificationOutput>
{
}

impl<M> Classifier for M where
    M: TrainStep<Input = Batch, Output = ClassificationOutput>
        + InferenceStep<Input = Batch, Output = ClassificationOutput>
{
}

/// A history that the model, the program and the progress display share.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<History>>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StepLog<ClassificationOutput> for Log {
    fn start_step(&self) {
        self.lock().started = Some(Instant::now());
    }

    fn loss(&self, loss: f64) {
        self.lock().losses.push(loss);
    }

    fn end_step(&self) {
        let mut history = self.lock();
        if let Some(started) = history.started.take() {
            let elapsed = started.elapsed().as_secs_f64() * 1e3;
            history.milliseconds.push(elapsed);
        }
    }

    /// The test images come as one batch.
    fn evaluated(&self, output: &ClassificationOutput) {
        let found = output.output.clone().argmax(1).squeeze_dim::<1>(1);
        let right = found.equal(output.targets.clone()).float();
        self.lock().accuracies.push(scalar(right.mean()));
    }
}

fn scalar(x: Tensor<1>) -> f64 {
    x.into_scalar::<f32>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_loss_is_the_mean_of_the_last_epoch() {
        let history = History {
            losses: vec![9.0, 9.0, 9.0, 1.0, 2.0, 6.0],
            milliseconds: vec![5.0, 1.0, 2.0, 2.0],
            accuracies: vec![0.1, 0.8],
            started: None,
        };
        assert_eq!(history.final_train_loss(2), 3.0);
        assert_eq!(history.ms_per_step(), 2.0);
        assert_eq!(history.test_accuracy(), 0.8);
    }
}
