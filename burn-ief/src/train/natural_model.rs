//! The module wrapper for learners.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::{Module, ModuleDisplay, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::tensor::{Int, Tensor};
use burn::train::{InferenceStep, Interrupter, TrainOutput, TrainStep};

use super::mailbox::{Mailbox, Order, Origin};
use super::scope::{self, Job};
use super::stop::Stop;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::methods::{AnyMethod, AnyShard, AnyState, Joining, Method, Reduction, StepReport};
use crate::params;

/// A model trained by a natural-gradient method in a `burn::train` learner.
///
/// ```
/// # use burn::module::Module;
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use burn::train::{InferenceStep, RegressionOutput, TrainOutput, TrainStep};
/// # use burn_ief::train::train_output;
/// # #[derive(Module, Debug)]
/// # struct Net {
/// #     layer: Linear,
/// # }
/// # impl TrainStep for Net {
/// #     type Input = (Tensor<2>, Tensor<2>);
/// #     type Output = RegressionOutput;
/// #     fn step(&self, (x, y): Self::Input) -> TrainOutput<RegressionOutput> {
/// #         let z = mark_output_as(self.layer.forward_recorded(x), Likelihood::Gaussian);
/// #         let loss = (z.clone() - y.clone()).square().sum_dim(1).mean() * 0.5;
/// #         let grads = loss.backward();
/// #         train_output(self, grads, RegressionOutput::new(loss, z, y))
/// #     }
/// # }
/// # let device = Device::flex().autodiff();
/// # let model = Net { layer: LinearConfig::new(3, 1).init(&device) };
/// use burn_ief::prelude::*;
/// use burn_ief::train::NaturalModel;
///
/// let method = IefConfig::new().build();
/// let mut optim = method.optimizer();
/// let model = NaturalModel::new(model, method);
/// // What `training.launch(Learner::new(model, optim, 0.5))` does for every batch:
/// let batch = (Tensor::ones([4, 3], &device), Tensor::zeros([4, 1], &device));
/// let output = TrainStep::step(&model, batch);
/// let model = model.optimize(&mut optim, 0.5.into(), output.grads);
/// assert_eq!(model.steps(), 1);
/// let model: Net = model.into_inner();
/// ```
///
/// The model's `TrainStep` ends with [`train_output`](super::train_output). With a learner, add
/// `.with_interrupter(training.interrupter())`: a failing step then ends the run with its error.
///
/// # Accumulated batches and several devices
///
/// All batches of a step, from gradient accumulation or the devices of
/// `ExecutionStrategy::multi`, make one update: by default exactly that of one batch which holds all
/// their samples ([`Reduction::Joint`]). The measured shards reach the update through a mailbox that
/// the clones of the wrapper share, not through the gradients, which stay empty. Do not train two
/// clones of one wrapper at the same time: wrap the model anew for each training. For several devices,
/// [`DataParallel`](super::DataParallel) sends less than `multi`. The `ddp` strategy, in which every
/// device steps by itself, is refused with an error.
///
/// # Records
///
/// The record holds the model's own under `model`, the state of the method under `state`, and the
/// number of steps, which selects the drawn labels of SF: a resumed run draws the same labels as an
/// unbroken one.
#[derive(Module, Debug)]
pub struct NaturalModel<M> {
    model: M,
    state: AnyState,
    /// Optimizer steps taken.
    steps: Param<Tensor<1, Int>>,
    #[module(skip)]
    glue: Glue,
}

/// What is not part of the record.
#[derive(Debug, Clone)]
struct Glue {
    method: AnyMethod,
    joining: Joining,
    stop: Stop,
    mailbox: Mailbox,
    report: Arc<Mutex<Option<StepReport>>>,
}

impl<M: Module> NaturalModel<M> {
    /// Train `model` with `method`.
    pub fn new(model: M, method: impl Into<AnyMethod>) -> Self {
        let method = method.into();
        let params = params::matching(&model, method.step_options().group.as_ref());
        let device = model.devices().first().cloned().unwrap_or_default();
        let steps = Tensor::zeros([1], &device.inner());
        Self {
            model,
            state: method.new_state(&params),
            steps: Param::initialized(ParamId::new(), steps),
            glue: Glue {
                method,
                joining: Joining::default(),
                stop: Stop::default(),
                mailbox: Mailbox::default(),
                report: Arc::default(),
            },
        }
    }

    /// Stop the training through this handle when a step fails, with the error as the reason.
    ///
    /// Without it a failing step prints the error and unwinds.
    pub fn with_interrupter(mut self, interrupter: Interrupter) -> Self {
        self.glue.stop = Stop::through(interrupter);
        self
    }

    /// How accumulated batches and devices become one update.
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.glue.joining.reduction = reduction;
        self
    }

    /// How devices exchange what they measured.
    ///
    /// # Panics
    ///
    /// Panics if a field of `exchange` is out of range: see [`Exchange::validate`].
    pub fn with_exchange(mut self, exchange: Exchange) -> Self {
        if let Err(error) = exchange.validate() {
            panic!("{error}");
        }
        self.glue.joining.exchange = exchange;
        self
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model, by value.
    pub fn into_inner(self) -> M {
        self.model
    }

    /// What the method keeps from step to step.
    pub fn state(&self) -> &AnyState {
        &self.state
    }

    /// The report of the latest step, shared with all clones (and the learner's forks).
    pub fn last_report(&self) -> Option<StepReport> {
        locked(&self.glue.report).clone()
    }

    pub(super) fn report_handle(&self) -> Arc<Mutex<Option<StepReport>>> {
        self.glue.report.clone()
    }

    /// Optimizer steps taken, over resumed runs too.
    pub fn steps(&self) -> u64 {
        self.steps.val().into_scalar::<i64>().unsigned_abs()
    }

    /// What measures the shards of the next step.
    pub(super) fn job(&self) -> Job {
        Job {
            method: self.glue.method.clone(),
            state: self.state.clone(),
            step: self.steps(),
        }
    }

    /// How devices exchange what they measured.
    pub(super) fn exchange(&self) -> &Exchange {
        &self.glue.joining.exchange
    }

    /// Take in a shard that another thread measured for the next step; returns its samples.
    pub(super) fn post(&self, first_row: u64, shard: AnyShard) -> usize {
        let samples = self.glue.method.shard_samples(&shard);
        let origin = Origin {
            step: self.steps(),
            order: Order::FirstRow(first_row),
            samples,
        };
        self.glue.mailbox.post(origin, shard);
        samples
    }

    /// A shard of the next step failed, so there will be none.
    pub(super) fn fail(&self, error: &Error) {
        self.glue.mailbox.fail();
        self.glue.stop.fail(error);
    }

    /// The update of all shards of this step; `None` if a shard failed, and the training is about to
    /// stop.
    fn update(&mut self) -> Result<Option<GradientsParams>, Error> {
        let steps = self.steps();
        let Some(shards) = self.glue.mailbox.take(steps)? else {
            return Ok(None);
        };
        let method = &self.glue.method;
        let params = if shards.len() > 1 {
            params::trainable(&self.model)
        } else {
            Vec::new()
        };
        let joined = method.join(shards, &self.glue.joining)?;
        let update = method.update(self.state.clone(), joined, steps)?;
        let norm = method.step_options().normalize;
        let (state, grads, report) = update.finish(norm, &params)?;
        self.state = state;
        *locked(&self.glue.report) = Some(report);
        Ok(Some(grads))
    }
}

/// Nothing that could panic runs under these locks.
fn locked<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: Module + ModuleDisplay + TrainStep> TrainStep for NaturalModel<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, item: Self::Input) -> TrainOutput<Self::Output> {
        let step = self.steps();
        let device = format!("{:?}", self.steps.lazy_device());
        let first_row = self.glue.mailbox.begin(step);
        let tape = self.glue.method.start_shard(step, first_row);
        let (mut output, shard) = scope::run(self.job(), tape, || self.model.step(item));
        match shard {
            Ok(shard) => {
                let origin = Origin {
                    step,
                    order: Order::Device(device),
                    samples: self.glue.method.shard_samples(&shard),
                };
                self.glue.mailbox.post(origin, shard);
            }
            Err(error) => {
                self.glue.mailbox.fail();
                self.glue.stop.fail(&error);
                output.grads = GradientsParams::new();
            }
        }
        output
    }

    fn optimize(
        mut self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        _grads: GradientsParams,
    ) -> Self {
        let grads = match self.update() {
            Ok(Some(grads)) => grads,
            Ok(None) => return self,
            Err(error) => {
                self.glue.stop.fail(&error);
                return self;
            }
        };
        Self {
            // The model may have an `optimize` of its own, as `Sparse` has.
            model: self.model.optimize(optim, lr, grads),
            steps: self.steps.map(|steps| steps + 1),
            ..self
        }
    }

    fn optimize_multi(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        _grads: MultiGradientsParams,
    ) -> Self {
        self.optimize(optim, lr, GradientsParams::new())
    }
}

impl<M: Module + InferenceStep> InferenceStep for NaturalModel<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, item: Self::Input) -> Self::Output {
        self.model.step(item)
    }
}
