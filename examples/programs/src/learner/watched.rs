//! A model whose steps are noted down.

use std::fmt::Debug;

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::{Module, ModuleDisplay};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

/// The result of a step, with its loss.
pub trait WithLoss {
    /// The loss, `[1]`.
    fn loss(&self) -> Tensor<1>;
}

/// The record of a run, in which a [`Watched`] model notes its steps. Clones share the record.
pub trait StepLog<O>: Clone + Debug + Send + Sync + 'static {
    /// A training step, or its next batch, begins.
    fn start_step(&self);

    /// The loss of a batch of the training step is known.
    fn loss(&self, output: &O, loss: f64);

    /// The update of the training step is done, and the device is idle.
    fn end_step(&self);

    /// The model was applied to a batch of validation or test.
    fn evaluated(&self, output: &O);
}

/// A model that notes loss and time of its training steps, and its results in validation and test.
///
/// Metrics of `burn::train` run on a thread of their own; here the clock covers the step and the
/// update alone.
#[derive(Module, Debug)]
pub struct Watched<M, L> {
    /// The model.
    pub model: M,
    /// Where it notes.
    #[module(skip)]
    pub log: L,
}

impl<M, L> Watched<M, L> {
    /// Let `model` note its steps in `log`.
    pub fn new(model: M, log: L) -> Self {
        Self { model, log }
    }
}

impl<M, L> TrainStep for Watched<M, L>
where
    M: Module + ModuleDisplay + TrainStep<Output: WithLoss>,
    L: StepLog<M::Output>,
{
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, batch: M::Input) -> TrainOutput<M::Output> {
        self.log.start_step();
        let output = TrainStep::step(&self.model, batch);
        let loss = output.item.loss().into_scalar::<f32>();
        self.log.loss(&output.item, loss.into());
        output
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        let model = self.model.optimize(optim, lr, grads);
        for device in model.devices() {
            // Work that is still queued belongs to the step; a failed device fails the next one.
            let _ = device.sync();
        }
        self.log.end_step();
        Self {
            model,
            log: self.log,
        }
    }
}

impl<M, L> InferenceStep for Watched<M, L>
where
    M: Module + InferenceStep,
    L: StepLog<M::Output>,
{
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, batch: M::Input) -> M::Output {
        let output = InferenceStep::step(&self.model, batch);
        self.log.evaluated(&output);
        output
    }
}
