//! The module wrapper for learners.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::{Module, ModuleDisplay, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::tensor::{Device, Tensor};
use burn::train::{InferenceStep, Interrupter, TrainOutput, TrainStep};

use super::scope::{self, Job, Outcome};
use super::stop::Stop;
use crate::error::Error;
use crate::jacobian::to_host;
use crate::kfac::{Kfac, KroneckerReport, KroneckerState, Settings};
use crate::optim::{NaturalGradient, PreviousUpdate};
use crate::params::gradients;
use crate::record::Tape;
use crate::update::SolveReport;

/// How directions of several shards (accumulated batches, devices) become one update.
///
/// Each shard solves its own system. For shards with orthogonal gradients the sum is the joint
/// update; for similar ones it is up to D times too long, and the mean is nearer. With momentum in
/// the solve all shards start from the same μΔ_prev, and what they add to it is reduced: the start
/// counts once, not once for each shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Divide by the number of shards.
    #[default]
    Mean,
    /// Add them up, as `burn::train` does with gradients.
    Sum,
}

/// A method that [`Natural`] trains with: EF, iEF, SF, the exact natural gradient, or one of the
/// K-FAC family.
///
/// ```
/// use burn_ief::train::Method;
/// use burn_ief::{IefConfig, IekfacConfig};
///
/// let exact: Method = IefConfig::new().build().into();
/// let factored: Method = IekfacConfig::new().build().into();
/// # let _ = (exact, factored);
/// ```
#[derive(Debug, Clone)]
pub struct Method(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Gradient(NaturalGradient),
    Kronecker(Box<Kfac>),
}

impl From<NaturalGradient> for Method {
    fn from(method: NaturalGradient) -> Self {
        Self(Kind::Gradient(method))
    }
}

impl From<Kfac> for Method {
    fn from(method: Kfac) -> Self {
        Self(Kind::Kronecker(Box::new(method)))
    }
}

/// A model trained by a natural-gradient method in a `burn::train` learner.
///
/// ```
/// # use burn::module::Module;
/// # use burn::nn::{Linear, LinearConfig};
/// # use burn::tensor::{Device, Tensor};
/// # use burn::train::{InferenceStep, RegressionOutput, TrainOutput, TrainStep};
/// # use burn_ief::nn::ForwardRecorded;
/// # use burn_ief::train::train_output;
/// # use burn_ief::{Likelihood, mark_output_as};
/// # #[derive(Module, Debug)]
/// # struct Net {
/// #     layer: Linear,
/// # }
/// # impl Net {
/// #     fn forward(&self, (x, y): (Tensor<2>, Tensor<2>)) -> RegressionOutput {
/// #         let z = mark_output_as(self.layer.forward_recorded(x), Likelihood::Gaussian);
/// #         let loss = (z.clone() - y.clone()).square().sum_dim(1).mean() * 0.5;
/// #         RegressionOutput::new(loss, z, y)
/// #     }
/// # }
/// # impl TrainStep for Net {
/// #     type Input = (Tensor<2>, Tensor<2>);
/// #     type Output = RegressionOutput;
/// #     fn step(&self, batch: Self::Input) -> TrainOutput<RegressionOutput> {
/// #         let output = self.forward(batch);
/// #         let grads = output.loss.backward();
/// #         train_output(self, grads, output)
/// #     }
/// # }
/// # let device = Device::flex().autodiff();
/// # let model = Net { layer: LinearConfig::new(3, 1).init(&device) };
/// use burn_ief::IefConfig;
/// use burn_ief::train::Natural;
///
/// let ief = IefConfig::new().build();
/// let model = Natural::new(model, ief.clone());
/// // What `training.launch(Learner::new(model, ief.optimizer(), 1.0))` does for every batch:
/// let batch = (Tensor::ones([4, 3], &device), Tensor::zeros([4, 1], &device));
/// let output = TrainStep::step(&model, batch);
/// let model = model.optimize(&mut ief.optimizer(), 1.0.into(), output.grads);
/// assert_eq!(model.steps(), 1);
/// let model: Net = model.into_inner();
/// ```
///
/// With a learner, add `.with_interrupter(training.interrupter())`: a failing step then ends the
/// run with its error.
///
/// The model's `TrainStep` ends with [`train_output`](super::train_output). The record holds the
/// model's own under `model`, and the number of steps, which selects the drawn labels of SF: a
/// resumed run draws what the unbroken one would. For the K-FAC family it also holds the averaged
/// factors and their inverses, under `curvature`; with momentum in the solve the previous update,
/// under `previous`.
///
/// A K-FAC step reduces first and preconditions then: gradients and factors are means over the
/// accumulated batches and devices, and the update is that of all of them together.
#[derive(Module, Debug)]
pub struct Natural<M> {
    model: M,
    /// State of the K-FAC family. In gradients, the ids of its averages carry those of a batch.
    curvature: Option<KroneckerState>,
    /// State of momentum in the solve.
    previous: Option<PreviousUpdate>,
    /// Optimizer steps taken. In gradients, its id carries the number of shards and, with momentum
    /// in the solve, the sum of the factors of their trust regions.
    steps: Param<Tensor<1>>,
    #[module(skip)]
    glue: Glue,
}

/// What stays outside the record.
#[derive(Debug, Clone)]
struct Glue {
    rule: Rule,
    reduction: Reduction,
    stop: Stop,
    report: Arc<Mutex<Option<SolveReport>>>,
    kronecker: Arc<Mutex<Option<KroneckerReport>>>,
    /// What the next report of the K-FAC family will name.
    unused: Arc<Mutex<Vec<String>>>,
}

/// A method without its state.
#[derive(Debug, Clone)]
enum Rule {
    Gradient(NaturalGradient),
    Kronecker(Box<Settings>),
}

impl<M: Module> Natural<M> {
    /// Train `model` with `method`.
    pub fn new(model: M, method: impl Into<Method>) -> Self {
        let (rule, curvature, previous) = match method.into().0 {
            Kind::Gradient(method) => {
                let keeps = method.has_solve_momentum();
                let previous = keeps.then(|| method.new_state(&model));
                (Rule::Gradient(method), None, previous)
            }
            Kind::Kronecker(method) => {
                let state = method.state().cloned();
                let state = state.unwrap_or_else(|| method.new_state(&model));
                (
                    Rule::Kronecker(Box::new(method.into_settings())),
                    Some(state),
                    None,
                )
            }
        };
        let device = model.devices().first().cloned().unwrap_or_default();
        let steps = Tensor::zeros([1], &device.inner());
        Self {
            model,
            curvature,
            previous,
            steps: Param::initialized(ParamId::new(), steps),
            glue: Glue {
                rule,
                reduction: Reduction::default(),
                stop: Stop::default(),
                report: Arc::default(),
                kronecker: Arc::default(),
                unused: Arc::default(),
            },
        }
    }

    /// Stop the training through this handle when a step fails, with the error as the reason.
    ///
    /// Without it a failing step panics with the error.
    pub fn with_interrupter(mut self, interrupter: Interrupter) -> Self {
        self.glue.stop = Stop::through(interrupter);
        self
    }

    /// How accumulated batches and devices are reduced.
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.glue.reduction = reduction;
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

    /// The state of the K-FAC family, if the method is one of it.
    pub fn curvature(&self) -> Option<&KroneckerState> {
        self.curvature.as_ref()
    }

    /// The previous update, if the method has momentum in the solve.
    pub fn previous(&self) -> Option<&PreviousUpdate> {
        self.previous.as_ref()
    }

    /// The report of the latest solve, shared with all clones (and the learner's forks); the K-FAC
    /// family has [another](Self::last_kronecker_report).
    pub fn last_report(&self) -> Option<SolveReport> {
        locked(&self.glue.report).clone()
    }

    /// The report of the latest step of the K-FAC family, shared likewise.
    pub fn last_kronecker_report(&self) -> Option<KroneckerReport> {
        locked(&self.glue.kronecker).clone()
    }

    pub(super) fn report_handle(&self) -> Arc<Mutex<Option<SolveReport>>> {
        self.glue.report.clone()
    }

    /// Optimizer steps taken, over resumed runs too.
    pub fn steps(&self) -> u64 {
        self.steps.val().into_scalar::<f32>() as u64
    }

    /// What a batch is recorded for, and the recording.
    fn start(&self) -> (Job, Tape) {
        match (&self.glue.rule, &self.curvature) {
            (Rule::Gradient(method), _) => {
                let tape = match method.draws_labels() {
                    true => method.start_at(self.steps()),
                    false => method.start(),
                };
                (Job::Solve(method.clone(), self.previous.clone()), tape)
            }
            (Rule::Kronecker(settings), Some(state)) => {
                let tape = settings.start_at(state.steps());
                (Job::Measure(settings.clone(), state.clone()), tape)
            }
            (Rule::Kronecker(_), None) => unreachable!("made together in `new`"),
        }
    }

    /// What is left to do with reduced gradients; the state is as before if it fails.
    fn precondition(
        &mut self,
        grads: &mut GradientsParams,
        natural: &HashSet<ParamId>,
        shards: f64,
        scale: f64,
    ) -> Result<(), Error> {
        match (&self.glue.rule, &self.curvature) {
            (Rule::Gradient(method), _) => {
                if let Some(previous) = &mut self.previous {
                    method.advance(&self.model, previous, grads, scale)?;
                }
                method.finish(&self.model, grads, natural);
            }
            (Rule::Kronecker(settings), Some(state)) => {
                let mut statistics = state.receive(grads, shards);
                if self.glue.reduction == Reduction::Sum {
                    statistics.scale_updates(shards);
                }
                let state = state.clone();
                let (state, mut report) =
                    settings.precondition(&self.model, state, statistics, grads)?;
                report.unused = std::mem::take(&mut locked(&self.glue.unused));
                *locked(&self.glue.kronecker) = Some(report);
                self.curvature = Some(state);
            }
            (Rule::Kronecker(_), None) => unreachable!("made together in `new`"),
        }
        Ok(())
    }
}

/// Nothing that could panic runs under these locks.
fn locked<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: Module + ModuleDisplay + TrainStep> TrainStep for Natural<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, item: Self::Input) -> TrainOutput<Self::Output> {
        let (job, tape) = self.start();
        let (mut output, solved) = scope::run(job, tape, || self.model.step(item));
        match solved {
            Ok(outcome) => {
                let scale = match (&self.previous, &outcome) {
                    (Some(_), Outcome::Solved(report)) => report.scale,
                    _ => 1.0,
                };
                let steps = self.steps.val();
                let place = (&steps.device(), steps.dtype());
                let shard = Tensor::<1>::from_data([1.0, scale], place);
                output.grads.register(self.steps.id, shard);
                match outcome {
                    Outcome::Solved(report) => *locked(&self.glue.report) = Some(report),
                    Outcome::Measured { unused } => *locked(&self.glue.unused) = unused,
                }
            }
            Err(error) => {
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
        mut grads: GradientsParams,
    ) -> Self {
        // Nothing came: the step failed and the training is about to stop.
        let Some(shards) = grads.remove::<1>(self.steps.id).map(to_host) else {
            return self;
        };
        let [shards, scales] = [shards[0], shards[1]];
        let natural = match &self.glue.rule {
            Rule::Gradient(method) => method.covered(&self.model),
            Rule::Kronecker(settings) => settings.covered(&self.model),
        };
        if self.glue.reduction == Reduction::Mean {
            gradients::map(&self.model, &mut grads, |id, grad| {
                natural.contains(&id).then(|| grad / shards)
            });
        }
        if let Err(error) = self.precondition(&mut grads, &natural, shards, scales / shards) {
            self.glue.stop.fail(&error);
            return self;
        }
        Self {
            // The model may have steps of its own, as `Sparse` has.
            model: self.model.optimize(optim, lr, grads),
            steps: self.steps.map(|steps| steps + 1.0),
            ..self
        }
    }

    fn optimize_multi(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: MultiGradientsParams,
    ) -> Self {
        // The update is normalised as a whole, so it is brought together first.
        let gathered = gather(&self, grads);
        self.optimize(optim, lr, gathered)
    }
}

impl<M: Module + InferenceStep> InferenceStep for Natural<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, item: Self::Input) -> Self::Output {
        self.model.step(item)
    }
}

/// Sum the gradients of all devices, each on the device of its parameter.
fn gather<M: Module>(module: &M, grads: MultiGradientsParams) -> GradientsParams {
    struct Gather {
        from: MultiGradientsParams,
        to: GradientsParams,
    }
    impl ModuleVisitor for Gather {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some((grad, _)) = self.from.remove::<D>(param.id) {
                let device: Device = param.lazy_device().inner();
                self.to.register(param.id, grad.to_device(&device));
            }
        }
    }
    let mut gather = Gather {
        from: grads,
        to: GradientsParams::new(),
    };
    module.visit(&mut gather);
    gather.to
}
