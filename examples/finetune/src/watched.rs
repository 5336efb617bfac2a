//! A model whose steps are noted down.

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::{Module, ModuleDisplay};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use crate::log::Log;
use crate::model::Outcome;

/// Notes loss and time of training steps, and answers in validation and test.
///
/// Metrics of `burn::train` run on a thread of their own; here the clock covers the step and the
/// update alone.
#[derive(Module, Debug)]
pub(crate) struct Watched<M> {
    pub model: M,
    #[module(skip)]
    pub log: Log,
}

impl<M> TrainStep for Watched<M>
where
    M: Module + ModuleDisplay + TrainStep<Output = Outcome>,
{
    type Input = M::Input;
    type Output = Outcome;

    fn step(&self, batch: M::Input) -> TrainOutput<Outcome> {
        self.log.start_step();
        let output = TrainStep::step(&self.model, batch);
        self.log
            .loss(output.item.loss.clone().into_scalar::<f32>().into());
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

impl<M> InferenceStep for Watched<M>
where
    M: Module + InferenceStep<Output = Outcome>,
{
    type Input = M::Input;
    type Output = Outcome;

    fn step(&self, batch: M::Input) -> Outcome {
        let outcome = InferenceStep::step(&self.model, batch);
        self.log.answers(&outcome);
        outcome
    }
}
