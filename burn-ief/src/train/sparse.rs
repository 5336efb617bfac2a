//! The module wrapper that keeps pruned weights pruned in learners.

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::{Module, ModuleDisplay, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::tensor::Tensor;
use burn::train::{InferenceStep, Interrupter, TrainOutput, TrainStep};

use super::stop::Stop;
use crate::error::Error;
use crate::prune::{
    CubicSchedule, CubicScheduleConfig, PruneScope, SparsityMask, prune_by_magnitude,
};

/// A model whose pruned weights stay exactly zero through training in a `burn::train` learner,
/// whatever the optimizer.
///
/// ```
/// # use burn::module::Module;
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use burn::train::{InferenceStep, RegressionOutput, TrainOutput, TrainStep};
/// # #[derive(Module, Debug)]
/// # struct Net {
/// #     layer: Linear,
/// # }
/// # impl TrainStep for Net {
/// #     type Input = (Tensor<2>, Tensor<2>);
/// #     type Output = RegressionOutput;
/// #     fn step(&self, (x, y): Self::Input) -> TrainOutput<RegressionOutput> {
/// #         let z = self.layer.forward(x);
/// #         let loss = (z.clone() - y.clone()).square().mean();
/// #         let grads = loss.backward();
/// #         TrainOutput::new(self, grads, RegressionOutput::new(loss, z, y))
/// #     }
/// # }
/// # let device = Device::flex().autodiff();
/// # let model = Net { layer: LinearConfig::new(4, 3).init(&device) };
/// use burn::optim::AdamWConfig;
/// use burn_ief::train::Sparse;
/// use burn_ief::prune::{PruneScope, SparsityMask, prune_by_magnitude};
///
/// let dense = SparsityMask::weights(&model)?;
/// let pruned = prune_by_magnitude(model, &dense, 0.5, PruneScope::Global)?; // or WoodFisher
/// let model = Sparse::new(pruned.model, pruned.mask)?;
/// // What `training.launch(Learner::new(model, optim, 1e-2))` does for every batch:
/// let batch = (Tensor::ones([4, 4], &device), Tensor::zeros([4, 3], &device));
/// let output = TrainStep::step(&model, batch);
/// let model = model.optimize(&mut AdamWConfig::new().init(), 1e-2.into(), output.grads);
/// let zeros = model.model().layer.weight.val().equal_elem(0.0);
/// assert_eq!(zeros.int().sum().into_scalar::<i64>(), 6);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// [`NaturalModel`](super::NaturalModel) may wrap it: `NaturalModel::new(Sparse::new(model, mask)?, method)`. The
/// natural gradient is then that of the dense model, and what it has for pruned weights is dropped:
/// the rest need not lower the loss, see the book on pruning.
///
/// With a [schedule](Self::with_schedule) it prunes by magnitude as it trains. The record holds the
/// model's own under `model`, the mask, and the number of steps: a resumed run goes on where it
/// stopped.
#[derive(Module, Debug)]
pub struct Sparse<M> {
    model: M,
    mask: SparsityMask,
    /// Optimizer steps taken.
    steps: Param<Tensor<1>>,
    #[module(skip)]
    glue: Glue,
}

/// What stays outside the record.
#[derive(Debug, Clone, Default)]
struct Glue {
    schedule: Option<(CubicSchedule, PruneScope)>,
    stop: Stop,
}

impl<M: Module> Sparse<M> {
    /// Set the weights that `mask` has pruned to zero, and keep them so.
    ///
    /// # Errors
    ///
    /// [`PruneError::ForeignMask`](crate::error::PruneError::ForeignMask) if the mask is not one of this module.
    pub fn new(model: M, mask: SparsityMask) -> Result<Self, Error> {
        let model = mask.apply(model)?;
        let device = model.devices().first().cloned().unwrap_or_default();
        let steps = Tensor::zeros([1], &device.inner());
        Ok(Self {
            model,
            mask,
            steps: Param::initialized(ParamId::new(), steps),
            glue: Glue::default(),
        })
    }

    /// Prune the weights that the mask covers by magnitude as training goes on.
    ///
    /// The schedule counts the optimizer steps of this wrapper, over resumed runs too.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming a field of the schedule that is out of range.
    pub fn with_schedule(
        mut self,
        schedule: CubicScheduleConfig,
        scope: PruneScope,
    ) -> Result<Self, Error> {
        self.glue.schedule = Some((schedule.try_init()?, scope));
        Ok(self)
    }

    /// Stop the training through this handle when a step fails (its weights became NaN, say), with
    /// the error as the reason.
    ///
    /// Without it a failing step prints the error and unwinds.
    pub fn with_interrupter(mut self, interrupter: Interrupter) -> Self {
        self.glue.stop = Stop::through(interrupter);
        self
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The mask.
    pub fn mask(&self) -> &SparsityMask {
        &self.mask
    }

    /// The model and its mask.
    pub fn into_inner(self) -> (M, SparsityMask) {
        (self.model, self.mask)
    }

    /// Optimizer steps taken, over resumed runs too.
    pub fn steps(&self) -> u64 {
        self.steps.val().into_scalar::<f32>() as u64
    }

    /// With what an optimizer made of the model.
    fn stepped(self, step: impl FnOnce(M) -> M) -> Self {
        let Self {
            model,
            mask,
            steps,
            glue,
        } = self;
        let model = step(model);
        let steps = steps.map(|steps| steps + 1.0);
        let due = glue.schedule.as_ref().and_then(|(schedule, scope)| {
            let done = steps.val().into_scalar::<f32>() as u64;
            Some((schedule.due(done)?, *scope))
        });
        let masked = match due {
            Some((sparsity, scope)) => prune_by_magnitude(model.clone(), &mask, sparsity, scope)
                .map(|pruned| (pruned.model, pruned.mask)),
            None => mask.apply(model.clone()).map(|model| (model, mask.clone())),
        };
        let (model, mask) = masked.unwrap_or_else(|error| {
            glue.stop.fail(&error);
            (model, mask)
        });
        Self {
            model,
            mask,
            steps,
            glue,
        }
    }
}

impl<M: Module + ModuleDisplay + TrainStep> TrainStep for Sparse<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, item: Self::Input) -> TrainOutput<Self::Output> {
        self.model.step(item)
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        self.stepped(|model| model.optimize(optim, lr, grads))
    }

    fn optimize_multi(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: MultiGradientsParams,
    ) -> Self {
        self.stepped(|model| model.optimize_multi(optim, lr, grads))
    }
}

impl<M: Module + InferenceStep> InferenceStep for Sparse<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, item: Self::Input) -> Self::Output {
        self.model.step(item)
    }
}
