//! A strategy of Burn's learner that trains on several devices.

use std::fmt::Display;
use std::sync::Arc;

use burn::data::dataloader::split::split_dataloader;
use burn::data::dataloader::{DataLoaderIterator, Progress};
use burn::module::{Module, ModuleDisplay};
use burn::optim::GradientsParams;
use burn::tensor::Device;
use burn::train::{
    EventProcessorTraining, InferenceStep, Interrupter, Learner, LearnerEvent,
    SupervisedLearningStrategy, SupervisedTrainingEventProcessor, TrainLoader, TrainStep,
    TrainingComponents, TrainingItem, TrainingStrategy, ValidLoader,
};

use super::NaturalModel;
use crate::devices::Team;
use crate::error::Error;

/// Trains a [`NaturalModel`] on several devices: the step is that of one device with the whole batch.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use burn::data::dataloader::DataLoader;
/// # use burn::module::{Module, ModuleDisplay};
/// # use burn::tensor::Device;
/// # use burn::train::{InferenceStep, Learner, SupervisedTraining, TrainStep};
/// use burn_ief::prelude::*;
/// use burn_ief::train::{DataParallel, EpochLoader, NaturalModel};
///
/// # fn train<M>(model: M, train: Arc<dyn DataLoader<<M as TrainStep>::Input>>,
/// #     valid: Arc<dyn DataLoader<<M as InferenceStep>::Input>>)
/// # where M: TrainStep + InferenceStep + Module + ModuleDisplay + std::fmt::Display + 'static {
/// let devices = vec![Device::flex().autodiff(), Device::flex().autodiff()];
/// let method = IefConfig::new().build();
/// let optim = method.optimizer();
/// let training = SupervisedTraining::new("runs/example", train, valid)
///     .num_epochs(3)
///     .with_training_strategy(DataParallel::new(devices).into());
/// let model = NaturalModel::new(model, method).with_interrupter(training.interrupter());
/// training.launch(Learner::new(model, optim, 0.3));
/// # }
/// ```
///
/// The replicas stay on their devices, and after a step only the trained parameters go to them.
/// `ExecutionStrategy::multi` takes the same steps, but sends the whole model, frozen weights included, to
/// every device in every step.
///
/// The first device holds the model, takes the steps and validates. The loader is split as Burn does it: each
/// device gets a contiguous part of the data set in batches of its own. With
/// [`EpochLoader::share_batches`](super::EpochLoader::share_batches) each device gets its part of every
/// batch instead, so that the training does not depend on the number of devices.
///
/// Dropout draws other masks than on one device.
///
/// # Failures
///
/// A device that fails, or misses the deadline of
/// [`NaturalModel::with_exchange`], ends the training with an
/// [`Error::Shard`](crate::Error::Shard) that names it. The model is that of the last complete step, and the
/// training may resume from its checkpoint on other devices, or another number of them.
#[derive(Debug, Clone)]
pub struct DataParallel {
    devices: Vec<Device>,
}

impl DataParallel {
    /// Train on these devices, with autodiff.
    ///
    /// # Panics
    ///
    /// Panics without devices.
    pub fn new(devices: Vec<Device>) -> Self {
        assert!(!devices.is_empty(), "expected at least 1 device, found 0");
        Self { devices }
    }
}

impl<M> From<DataParallel> for TrainingStrategy<NaturalModel<M>>
where
    M: TrainStep + InferenceStep + Module + ModuleDisplay + Display + 'static,
{
    fn from(strategy: DataParallel) -> Self {
        Self::Custom(Arc::new(strategy))
    }
}

impl<M> SupervisedLearningStrategy<NaturalModel<M>> for DataParallel
where
    M: TrainStep + InferenceStep + Module + ModuleDisplay + Display + 'static,
{
    fn fit(
        &self,
        components: TrainingComponents<NaturalModel<M>>,
        mut learner: Learner<NaturalModel<M>>,
        train: TrainLoader<NaturalModel<M>>,
        valid: ValidLoader<NaturalModel<M>>,
        starting_epoch: usize,
    ) -> (
        NaturalModel<M>,
        SupervisedTrainingEventProcessor<NaturalModel<M>>,
    ) {
        let main = &self.devices[0];
        let train_items = train.num_items();
        let train = match self.devices.as_slice() {
            // Burn's split leaves a single loader where it is.
            [only] => vec![train.to_device(only)],
            devices => split_dataloader(train, devices),
        };
        let valid = valid.to_device(&main.clone().inner());
        learner.fork(main);
        let model = learner.model();
        let mut run = Run {
            events: components.event_processor,
            interrupter: components.interrupter,
            accumulation: components.grad_accumulation.unwrap_or(1),
        };
        let mut checkpointer = components.checkpointer;
        let mut early_stopping = components.early_stopping;
        let mut team = match Team::new(model.model(), &self.devices) {
            Ok(team) => team,
            Err(error) => {
                model.fail(&error);
                return (model, run.events);
            }
        };
        for epoch in starting_epoch..=components.num_epochs {
            run.event(LearnerEvent::StartSplit {
                epoch_number: epoch,
                total_items: train_items,
            });
            run.train(&mut learner, &mut team, &train);
            run.event(LearnerEvent::EndSplit(epoch));
            if run.interrupter.should_stop() {
                break;
            }
            run.validate(&learner, &valid, epoch);
            run.event(LearnerEvent::EndEpoch(epoch));
            if checkpointer.is_some() || early_stopping.is_some() {
                run.interrupter.fail_on_error(run.events.flush());
            }
            if run.interrupter.should_stop() {
                break;
            }
            if let Some(checkpointer) = &mut checkpointer {
                checkpointer.checkpoint(&learner, epoch, &components.event_store);
            }
            if let Some(early_stopping) = &mut early_stopping
                && early_stopping.should_stop(epoch, &components.event_store)
            {
                break;
            }
        }
        (learner.model(), run.events)
    }
}

type Events<M> = SupervisedTrainingEventProcessor<NaturalModel<M>>;

/// What all epochs of a training share.
struct Run<M>
where
    M: TrainStep + InferenceStep + Module + ModuleDisplay + Display + 'static,
{
    events: Events<M>,
    interrupter: Interrupter,
    /// Batches of each device in a step.
    accumulation: usize,
}

/// What the next batches of all devices are.
struct Round<T> {
    /// For each, the number of its device and the row of its first sample among those of the round.
    parts: Vec<(usize, u64, T)>,
    samples: u64,
    progress: Progress,
}

impl<M> Run<M>
where
    M: TrainStep + InferenceStep + Module + ModuleDisplay + Display + 'static,
{
    fn event(&mut self, event: LearnerEvent<<M as TrainStep>::Output>) {
        let sent = self.events.process_train(event);
        self.interrupter.fail_on_error(sent);
    }

    /// One epoch.
    fn train(
        &mut self,
        learner: &mut Learner<NaturalModel<M>>,
        team: &mut Team<M>,
        loaders: &[TrainLoader<NaturalModel<M>>],
    ) {
        let mut iterators: Vec<_> = loaders.iter().map(|loader| loader.iter()).collect();
        let mut iteration = 0;
        let (mut rounds, mut first_row) = (0, 0);
        loop {
            let round = match next_round(&mut iterators) {
                Ok(round) if round.parts.is_empty() => return,
                Ok(round) => round,
                Err(error) => return self.interrupter.fail(error),
            };
            let progress = round.progress.clone();
            let samples = round.samples;
            let items = match measure(&learner.model(), team, round, first_row) {
                Ok(items) => items,
                Err(error) => return learner.model().fail(&error),
            };
            rounds += 1;
            first_row += samples;
            if rounds >= self.accumulation || progress.is_completed() {
                learner.lr_step();
                learner.optimizer_step(GradientsParams::new());
                (rounds, first_row) = (0, 0);
                if !self.interrupter.should_stop()
                    && let Err(error) = team.update(learner.model().model())
                {
                    return learner.model().fail(&error);
                }
            }
            for item in items {
                iteration += 1;
                let lr = Some(learner.lr_current());
                let item = TrainingItem::new(item, progress.clone(), Some(iteration), lr);
                self.event(LearnerEvent::ProcessedItem(item));
            }
            if self.interrupter.should_stop() {
                return;
            }
        }
    }

    /// Validation on the device of the model.
    fn validate(
        &mut self,
        learner: &Learner<NaturalModel<M>>,
        loader: &ValidLoader<NaturalModel<M>>,
        epoch: usize,
    ) {
        let start = LearnerEvent::StartSplit {
            epoch_number: epoch,
            total_items: loader.num_items(),
        };
        let sent = self.events.process_valid(start);
        self.interrupter.fail_on_error(sent);
        let model = learner.model().valid();
        let mut iterator = loader.iter();
        let mut iteration = 0;
        while let Some(item) = iterator.next() {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    self.interrupter.fail(error);
                    break;
                }
            };
            iteration += 1;
            let item = InferenceStep::step(&model, item);
            let item = TrainingItem::new(item, iterator.progress(), Some(iteration), None);
            let sent = self.events.process_valid(LearnerEvent::ProcessedItem(item));
            self.interrupter.fail_on_error(sent);
            if self.interrupter.should_stop() {
                break;
            }
        }
        let sent = self.events.process_valid(LearnerEvent::EndSplit(epoch));
        self.interrupter.fail_on_error(sent);
    }
}

/// The next batch of each device that has one left.
fn next_round<T>(
    iterators: &mut [Box<dyn DataLoaderIterator<T> + '_>],
) -> Result<Round<T>, burn::data::dataset::DatasetError> {
    let mut round = Round {
        parts: Vec::with_capacity(iterators.len()),
        samples: 0,
        progress: Progress::new(0, 0, Some("items".into())),
    };
    for (device, iterator) in iterators.iter_mut().enumerate() {
        let before = iterator.progress().items_processed;
        let Some(item) = iterator.next() else {
            continue;
        };
        let progress = iterator.progress();
        round.parts.push((device, round.samples, item?));
        round.samples += progress.items_processed.saturating_sub(before) as u64;
        round.progress.items_processed += progress.items_processed;
        round.progress.items_total += progress.items_total;
    }
    Ok(round)
}

/// Run the model's `step` for each part on its device, at the same time, and take the shards in.
fn measure<M>(
    model: &NaturalModel<M>,
    team: &mut Team<M>,
    round: Round<<M as TrainStep>::Input>,
    first_row: u64,
) -> Result<Vec<<M as TrainStep>::Output>, Error>
where
    M: TrainStep + Module + ModuleDisplay + 'static,
{
    let mut rows = Vec::with_capacity(round.parts.len());
    let work = round.parts.into_iter().map(|(shard, row, item)| {
        let (job, row) = (model.job(), first_row + row);
        rows.push(row);
        let work = move |replica: &mut M| {
            let (output, measured) = job.run(row, || replica.step(item));
            Ok((output.item, measured?))
        };
        (shard, work)
    });
    let work: Vec<_> = work.collect();
    let answers = team.run(work, model.exchange().deadline)?;
    let items = answers.into_iter().zip(rows).map(|((item, shard), row)| {
        model.post(row, shard);
        item
    });
    Ok(items.collect())
}
