//! The optimizer: a method, its state, and Burn's optimizer that applies the updates.

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, LearningRate, ModuleOptimizer, Optimizer, Sgd, SgdConfig};
use burn::tensor::{Device, Gradients, Tensor};

use super::record::{NaturalRecord, refused};
use crate::error::Error;
use crate::jacobian::RecordedBatch;
use crate::methods::{AnyMethod, Method, Reduction, StepReport};
use crate::params::{self, ParamInfo};
use crate::record::Tape;

/// The optimizer of a model: a method, its state, and Burn's optimizer that applies the updates.
///
/// The same lines work for every method, with and without momentum in the solve:
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use burn_ief::prelude::*;
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1], &device);
/// let cross_entropy = CrossEntropyLossConfig::new().init(&device);
///
/// let mut optim = IefConfig::new().init(&model);
/// let mut losses = Vec::new();
/// for _ in 0..10 {
///     model = optim.step_closure(0.5, model, |model| {
///         let logits = mark_output(model.forward_recorded(x.clone()));
///         let loss = cross_entropy.forward(logits, y.clone());
///         losses.push(loss.clone().into_scalar::<f32>());
///         loss
///     })?;
/// }
/// assert!(losses[9] < losses[0]);
///
/// // The same step in separate lines:
/// let tape = optim.start();
/// let logits = mark_output(model.forward_recorded(x.clone()));
/// let grads = cross_entropy.forward(logits, y.clone()).backward();
/// model = optim.step(0.5, model, tape, grads)?;
/// # let _ = model;
/// # Ok::<(), burn_ief::Error>(())
/// ```
pub struct NaturalOptimizer<X: Method = AnyMethod> {
    method: X,
    state: X::State,
    optim: ModuleOptimizer,
    steps: u64,
    /// The method and its parameters: records of others are refused.
    owner: Vec<String>,
    /// Shards of the next step.
    pending: Vec<X::Shard>,
}

impl<X: Method> NaturalOptimizer<X> {
    /// The optimizer of `model` by a method; [`init`](super::InitOptimizer::init) makes both at once.
    pub fn new<M: Module>(method: X, model: &M) -> Self {
        let params = params::matching(model, method.step_options().group.as_ref());
        let parts = params.iter().map(ParamInfo::describe);
        Self {
            state: method.new_state(&params),
            owner: std::iter::once(method.record_name()).chain(parts).collect(),
            optim: method.optimizer(),
            method,
            steps: 0,
            pending: Vec::new(),
        }
    }

    /// Leave all parameters outside the method's group to another optimizer, from the same backward
    /// pass.
    ///
    /// The two take different step sizes: set them per group with
    /// `burn::lr_scheduler::module_lr_scheduler`.
    pub fn with_rest<O: Optimizer>(self, rest: O) -> Self {
        Self {
            optim: self.method.optimizer_with(rest),
            ..self
        }
    }

    /// Start the recording of the next step.
    ///
    /// The loss is taken to be a mean over the batch; declare another scale with
    /// [`Tape::with_loss_scale`].
    pub fn start(&self) -> Tape {
        let pending = self.pending.iter();
        let rows: usize = pending.map(|shard| self.method.shard_samples(shard)).sum();
        self.method.start_shard(self.steps, rows as u64)
    }

    /// Update the model from a recorded batch.
    ///
    /// `lr` is the step size: a number, or one per parameter group.
    ///
    /// # Errors
    ///
    /// Those of [`RecordedBatch::collect`] (an unrecorded use, BatchNorm, a wrong loss scale, …);
    /// [`Error::NoOutput`] and [`Error::NoLoss`] if a mark is missing that the method needs;
    /// [`Error::NonFinite`] and [`Error::NonFiniteUpdate`]; [`Error::Eigen`];
    /// [`Error::PendingBatches`] after [`accumulate`](Self::accumulate). The optimizer is as before
    /// then. The model is dropped: pass a clone (which copies no tensor) to skip a bad batch.
    pub fn step<M: Module>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: M,
        tape: Tape,
        grads: Gradients,
    ) -> Result<M, Error> {
        self.step_with_report(lr, model, tape, grads)
            .map(|(model, _)| model)
    }

    /// Like [`step`](Self::step), with a report.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn step_with_report<M: Module>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: M,
        tape: Tape,
        grads: Gradients,
    ) -> Result<(M, StepReport), Error> {
        self.check_pending()?;
        let shard = self.measure(&model, tape, grads)?;
        let (grads, report) = self.advance(vec![shard])?;
        Ok((self.optim.step(lr, model, grads), report))
    }

    /// Start the recording, run `loss` and its backward pass, and step.
    ///
    /// `loss` returns the scalar loss of the batch, a mean over the samples.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn step_closure<M: Module>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: M,
        loss: impl FnOnce(&M) -> Tensor<1>,
    ) -> Result<M, Error> {
        let tape = self.start();
        let grads = loss(&model).backward();
        self.step(lr, model, tape, grads)
    }

    /// Step with one backward pass per sample, for models whose `forward` cannot be edited.
    ///
    /// `loss` returns the loss of sample n (`0..samples`) alone; it marks its output and its loss
    /// ([`mark_output`](crate::mark_output), [`mark_loss`](crate::mark_loss)) if the method needs that,
    /// and computes the same at every call (no dropout). It costs one forward and backward pass per
    /// sample, and one more for each copy with drawn labels, and memory for as many rows of all
    /// parameters.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Tensor};
    /// use burn_ief::prelude::*;
    ///
    /// let device = Device::flex().autodiff();
    /// let model = LinearConfig::new(3, 1).init(&device);
    /// let x = Tensor::<2>::ones([4, 3], &device);
    /// let mut optim = IefConfig::new().init(&model);
    /// let model = optim.step_by_sample(0.5, model, 4, |model, n| {
    ///     let row = x.clone().narrow(0, n, 1);
    ///     mark_output(model.forward(row)).square().sum() * 0.5
    /// })?;
    /// assert_eq!(optim.steps(), 1);
    /// # let _ = model;
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::BySample`] for the K-FAC family, which needs the inputs of the layers and so recorded
    /// calls. Otherwise as [`step`](Self::step).
    pub fn step_by_sample<M: Module>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: M,
        samples: usize,
        loss: impl Fn(&M, usize) -> Tensor<1>,
    ) -> Result<M, Error> {
        self.check_pending()?;
        let labels = self.method.labels_by_sample(self.steps)?;
        let group = self.method.step_options().group.as_ref();
        let batch = RecordedBatch::by_sample(&model, group, labels, samples, loss)?;
        batch.check_single_holders()?;
        let shard = self.method.measure(batch, &self.state, self.steps)?;
        let (grads, _) = self.advance(vec![shard])?;
        Ok(self.optim.step(lr, model, grads))
    }

    /// The update of a recorded batch as gradients, for any other
    /// [`ModuleOptimizer`](burn::optim::ModuleOptimizer).
    ///
    /// The state of the method advances as in [`step`](Self::step).
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn gradients<M: Module>(
        &mut self,
        tape: Tape,
        grads: Gradients,
        model: &M,
    ) -> Result<GradientsParams, Error> {
        self.check_pending()?;
        let shard = self.measure(model, tape, grads)?;
        Ok(self.advance(vec![shard])?.0)
    }

    /// Keep what one recorded batch gives, for a joint step over several.
    ///
    /// The step is exactly that of one batch that holds all samples, also if the batches differ in
    /// size; drawn labels are those of the one batch. Start each recording with
    /// [`start`](Self::start) after the batch before it was accumulated. Exact methods keep the
    /// recorded inputs and errors of every layer until the step.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use burn_ief::prelude::*;
    ///
    /// let device = Device::flex().autodiff();
    /// let mut model = LinearConfig::new(3, 1).init(&device);
    /// let mut optim = EfConfig::new().init(&model);
    /// for rows in [5, 3] {
    ///     let tape = optim.start();
    ///     let x = Tensor::<2>::random([rows, 3], Distribution::Default, &device);
    ///     let grads = model.forward_recorded(x).square().mean().backward();
    ///     optim.accumulate(tape, grads, &model)?;
    /// }
    /// model = optim.step_accumulated(0.1, model)?; // the update of all eight samples
    /// assert_eq!(optim.steps(), 1);
    /// # let _ = model;
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn accumulate<M: Module>(
        &mut self,
        tape: Tape,
        grads: Gradients,
        model: &M,
    ) -> Result<(), Error> {
        let shard = self.measure(model, tape, grads)?;
        self.pending.push(shard);
        Ok(())
    }

    /// Update the model from all accumulated batches.
    ///
    /// # Errors
    ///
    /// [`Error::NothingAccumulated`] without any; otherwise as [`step`](Self::step). The accumulated
    /// batches are dropped in any case.
    pub fn step_accumulated<M: Module>(
        &mut self,
        lr: impl Into<ModuleLearningRate>,
        model: M,
    ) -> Result<M, Error> {
        if self.pending.is_empty() {
            return Err(Error::NothingAccumulated);
        }
        let shards = std::mem::take(&mut self.pending);
        let (grads, _) = self.advance(shards)?;
        Ok(self.optim.step(lr, model, grads))
    }

    fn measure<M: Module>(
        &self,
        model: &M,
        tape: Tape,
        grads: Gradients,
    ) -> Result<X::Shard, Error> {
        let group = self.method.step_options().group.as_ref();
        let batch = RecordedBatch::collect(tape, grads, model, group)?;
        batch.check_single_holders()?;
        self.method.measure(batch, &self.state, self.steps)
    }

    /// Refuse a step that would leave accumulated batches for a later one.
    fn check_pending(&self) -> Result<(), Error> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(Error::PendingBatches {
                count: self.pending.len(),
            })
        }
    }

    fn advance(&mut self, shards: Vec<X::Shard>) -> Result<(GradientsParams, StepReport), Error> {
        let joined = self.method.join(shards, Reduction::Joint)?;
        let update = self.method.update(self.state.clone(), joined, self.steps)?;
        let norm = self.method.step_options().normalize;
        let (state, grads, report) = update.finish(norm)?;
        self.state = state;
        self.steps += 1;
        Ok((grads, report))
    }

    /// The method.
    pub fn method(&self) -> &X {
        &self.method
    }

    /// What the method keeps from step to step.
    pub fn state(&self) -> &X::State {
        &self.state
    }

    /// Steps taken, over resumed runs too.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Everything that a resumed run needs: moments, the state of the method, and the steps taken.
    ///
    /// Accumulated batches are not part of it. Load it into an optimizer of the same configuration
    /// type: one of `IefConfig` and one of [`AnyConfig`](crate::methods::AnyConfig) keep their states
    /// under different names.
    pub fn to_record(&self) -> NaturalRecord {
        NaturalRecord {
            owner: self.owner.clone(),
            steps: self.steps,
            moments: self.optim.to_record(),
            state: self.state.clone().into_record(),
        }
    }

    /// Continue from a record.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if the record belongs to another model, method or configuration.
    pub fn load_record(self, record: NaturalRecord) -> Result<Self, Error> {
        record.check_owner(&self.owner)?;
        Ok(Self {
            state: self.state.try_load_record(record.state).map_err(refused)?,
            optim: self.optim.load_record(record.moments),
            steps: record.steps,
            method: self.method,
            owner: self.owner,
            pending: Vec::new(),
        })
    }
}

/// Applies an update that a method has formed: `θ ← (1 − η w) θ − η m`, with m the update or its
/// running average.
///
/// Burn's [`Optimizer`] sees one parameter at a time, but a natural gradient needs one system over
/// all parameters. So the method forms the update, and this optimizer applies it, with decoupled
/// weight decay w as in AdamW and Burn's own momentum.
///
/// Do not combine it with Burn's gradient clipping, which clips every tensor by itself and so changes
/// the direction: use the trust region or the normalisation of the method instead.
///
/// ```
/// use burn::optim::ModuleOptimizer;
/// use burn_ief::optim::NaturalDescent;
///
/// let optimizer = ModuleOptimizer::from(NaturalDescent::new(0.01, None));
/// assert!(!optimizer.has_gradient_clipping());
/// ```
#[derive(Clone)]
pub struct NaturalDescent {
    sgd: Sgd,
    weight_decay: f64,
}

impl NaturalDescent {
    /// With this decoupled weight decay and momentum.
    pub fn new(weight_decay: f64, momentum: Option<MomentumConfig>) -> Self {
        Self {
            sgd: SgdConfig::new().with_momentum(momentum).build(),
            weight_decay,
        }
    }
}

impl Optimizer for NaturalDescent {
    type State<const D: usize> = <Sgd as Optimizer>::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        // Updates are formed in f32 at least; the parameter may be narrower.
        let grad = if grad.dtype() == tensor.dtype() {
            grad
        } else {
            grad.cast(tensor.dtype())
        };
        let tensor = if self.weight_decay == 0.0 {
            tensor
        } else {
            tensor * (1.0 - lr * self.weight_decay)
        };
        self.sgd.step(lr, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        Sgd::to_device(state, device)
    }
}

/// Burn's optimizer that applies the updates of a method: for a learner, which owns its optimizer.
///
/// ```
/// use burn::module::ParamGroup;
/// use burn::optim::AdamWConfig;
/// use burn_ief::methods::StepOptions;
/// use burn_ief::prelude::*;
///
/// let step = StepOptions::new().with_group(Some(ParamGroup::from_predicate("encoder")));
/// let method = IefConfig::new().with_step(step).build();
/// // The encoder takes iEF's updates, AdamW trains everything else.
/// let optim = method.optimizer_with(AdamWConfig::new().build());
/// assert!(!optim.has_gradient_clipping());
/// ```
pub trait MethodOptimizer: Method {
    /// An optimizer that applies the updates to all parameters.
    fn optimizer(&self) -> ModuleOptimizer {
        self.descent().into()
    }

    /// An optimizer that applies the updates to the parameters of the method's group, and leaves all
    /// others to `rest`, from the same backward pass.
    ///
    /// The two take different step sizes: set them per group with
    /// `burn::lr_scheduler::module_lr_scheduler`.
    fn optimizer_with<O: Optimizer>(&self, rest: O) -> ModuleOptimizer {
        match &self.step_options().group {
            Some(group) => {
                ModuleOptimizer::from(rest).with_group(group.clone(), self.descent(), None)
            }
            None => self.optimizer(),
        }
    }

    /// The bare optimizer, for [`ModuleOptimizer::with_group`].
    fn descent(&self) -> NaturalDescent {
        let step = self.step_options();
        NaturalDescent::new(step.weight_decay, step.momentum.clone())
    }
}

impl<X: Method> MethodOptimizer for X {}
