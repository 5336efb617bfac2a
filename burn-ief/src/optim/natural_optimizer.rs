//! The optimizer: a method, its state, and Burn's optimizer that applies the updates.

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::optim::{GradientsParams, ModuleOptimizer, Optimizer};
use burn::tensor::{Gradients, Tensor};

use super::descent::MethodOptimizer;
use super::record::NaturalRecord;
use crate::error::Error;
use crate::jacobian::RecordedBatch;
use crate::methods::{AnyMethod, Joining, Method, StepReport};
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
    pub(super) method: X,
    pub(super) state: X::State,
    pub(super) optim: ModuleOptimizer,
    pub(super) steps: u64,
    /// The method and its parameters: records of others are refused.
    owner: Vec<String>,
    /// Shards of the next step.
    pending: Vec<X::Shard>,
    /// How the shards of a step become one update.
    pub(super) joining: Joining,
    /// What the last step did.
    report: Option<StepReport>,
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
            joining: Joining::default(),
            report: None,
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
        let (grads, report) = self.advance(vec![shard], &model)?;
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
        let (grads, _) = self.advance(vec![shard], &model)?;
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
        Ok(self.advance(vec![shard], model)?.0)
    }

    /// Keep what one recorded batch gives, for a joint step over several.
    ///
    /// Unless [`with_reduction`](Self::with_reduction) says otherwise, the step is exactly that of one batch
    /// that holds all samples, also if the batches differ in size; drawn labels are those of the one batch. Start each recording with
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
        let (grads, _) = self.advance(shards, &model)?;
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
    pub(super) fn check_pending(&self) -> Result<(), Error> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(Error::PendingBatches {
                count: self.pending.len(),
            })
        }
    }

    pub(super) fn advance<M: Module>(
        &mut self,
        shards: Vec<X::Shard>,
        model: &M,
    ) -> Result<(GradientsParams, StepReport), Error> {
        // The rows of one shard are where the model is.
        let params = if shards.len() > 1 {
            params::trainable(model)
        } else {
            Vec::new()
        };
        let joined = self.method.join(shards, &self.joining)?;
        let update = self.method.update(self.state.clone(), joined, self.steps)?;
        let norm = self.method.step_options().normalize;
        let (state, grads, report) = update.finish(norm, &params)?;
        self.state = state;
        self.steps += 1;
        self.report = Some(report.clone());
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

    /// What the last step did, in whatever form it was taken; `None` before the first one.
    ///
    /// A step that fails leaves the report of the one before it.
    pub fn last_report(&self) -> Option<&StepReport> {
        self.report.as_ref()
    }

    /// Steps taken, over resumed runs too.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Everything that a resumed run needs: moments, the state of the method, and the steps taken.
    ///
    /// Accumulated batches are not part of it.
    pub fn to_record(&self) -> NaturalRecord {
        NaturalRecord {
            owner: self.owner.clone(),
            steps: self.steps,
            moments: self.optim.to_record(),
            state: self.method.save_state(self.state.clone()),
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
            state: self.method.load_state(self.state, record.state)?,
            optim: self.optim.load_record(record.moments),
            steps: record.steps,
            method: self.method,
            owner: self.owner,
            pending: Vec::new(),
            joining: self.joining,
            report: None,
        })
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::nn::loss::CrossEntropyLossConfig;
    use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
    use burn::tensor::{Device, Distribution, Int};

    use super::*;
    use crate::host::{HostReads, to_host, without_f64};
    use crate::linalg::norm;
    use crate::methods::{RunningSquares, SolveOptions, UpdateMetric};
    use crate::optim::InitOptimizer;
    use crate::prelude::*;

    #[derive(Module, Debug)]
    struct Classifier {
        table: Embedding,
        head: Linear,
    }

    /// Reads of each of two steps over shards of these sizes, with labels and ids that are checked.
    fn reads<C: MethodConfig>(config: C, shards: &[usize]) -> [usize; 2] {
        let device = Device::flex().autodiff();
        let mut model = Classifier {
            table: EmbeddingConfig::new(11, 4).init(&device),
            head: LinearConfig::new(4, 3).init(&device),
        };
        let cross_entropy = CrossEntropyLossConfig::new().init(&device);
        let mut optim = config.init(&model);
        [0, 1].map(|_| {
            let reads = HostReads::watch();
            for &samples in shards {
                let tape = optim.start();
                let ids = Tensor::<1, Int>::arange(0..2 * samples as i64, &device);
                let ids = ids.remainder_scalar(11).reshape([samples, 2]);
                let hidden = model.table.forward_recorded(ids).mean_dim(1).squeeze_dim(1);
                let logits = mark_output(model.head.forward_recorded(hidden));
                let labels = Tensor::<1, Int>::arange(0..samples as i64, &device);
                let labels = mark_labels(labels.remainder_scalar(3), 3);
                let loss = mark_loss(cross_entropy.forward(logits, labels));
                optim.accumulate(tape, loss.backward(), &model).unwrap();
            }
            model = optim.step_accumulated(0.1, model.clone()).unwrap();
            reads.finish().len()
        })
    }

    /// One read of what the outputs show, and one of K and of the previous update's image.
    #[test]
    fn a_step_waits_for_the_device_twice() {
        assert_eq!(reads(IefConfig::new(), &[6]), [2, 2]);
        let metric = UpdateMetric::Separable(RunningSquares::default());
        let solve = SolveOptions::new().with_metric(Some(metric));
        assert_eq!(reads(IefConfig::new().with_solve(solve), &[6]), [2, 2]);
        // Their updates are normalised: the norm is a read of its own.
        assert_eq!(reads(EfConfig::new(), &[6]), [3, 3]);
        assert_eq!(reads(SfConfig::new(), &[6]), [3, 3]);
    }

    /// Without f64, K and `Jᵀc` are formed in f32, and λ has a floor: the update is to 1 % that of the
    /// same λ with f64. There are more samples than parameters, and fewer.
    #[test]
    fn a_device_without_f64_has_the_same_updates() {
        let device = Device::flex().autodiff();
        device.seed(1);
        for (samples, inputs, classes) in [(64, 10, 4), (256, 20, 10), (100, 60, 5)] {
            let model = LinearConfig::new(inputs, classes).init(&device);
            let normal = Distribution::Normal(0.0, 1.0);
            let x = Tensor::<2>::random([samples, inputs], normal, &device);
            let labels = Tensor::<1, Int>::arange(0..samples as i64, &device);
            let labels = labels.remainder_scalar(classes as i64);
            let cross_entropy = CrossEntropyLossConfig::new().init(&device);
            let update = |damping| {
                let solve = SolveOptions::plain(damping);
                let config = IefConfig::new().with_solve(solve.with_momentum(Some(0.0)));
                let mut optim = config.init(&model);
                let tape = optim.start();
                let logits = mark_output(model.forward_recorded(x.clone()));
                let grads = cross_entropy.forward(logits, labels.clone()).backward();
                let grads = optim.gradients(tape, grads, &model).unwrap();
                let weight = to_host(grads.get::<2>(model.weight.id).unwrap());
                let report = optim.last_report().unwrap();
                (weight, report.solves[0].damping)
            };
            for exponent in [-3, -5, -7, -15] {
                let damping = Damping::relative(10f64.powi(exponent));
                let (found, damping) = without_f64(|| update(damping));
                let (expected, _) = update(Damping::absolute(damping));
                let difference = found.iter().zip(&expected).map(|(a, b)| a - b);
                let error = norm(&difference.collect::<Vec<f64>>()) / norm(&expected);
                assert!(error < 1e-2, "{samples}, 1e{exponent}: {error:.1e}");
            }
        }
    }

    #[test]
    fn a_joint_step_waits_once_per_shard_and_once_more() {
        assert_eq!(reads(IefConfig::new(), &[6, 5, 3]), [4, 4]);
    }
}
