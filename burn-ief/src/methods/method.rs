//! The trait of a training method, and the report of a step.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Debug;

use burn::module::{Module, ModuleDisplay, ParamId};
use burn::optim::GradientsParams;
use burn::store::ModuleRecord;
use burn::tensor::Device;

use super::options::StepOptions;
use crate::error::Error;
use crate::exchange::Exchange;
use crate::jacobian::{RecordedBatch, Rest};
use crate::names::named_variants;
use crate::params::{Direction, ParamInfo};
use crate::record::{LabelDraw, Tape};
use crate::solve::SolveReport;

/// What a step did, whatever the method.
///
/// ```
/// # use burn::nn::LinearConfig;
/// # use burn::tensor::{Device, Tensor};
/// # use burn_ief::prelude::*;
/// # let device = Device::flex().autodiff();
/// # let model = LinearConfig::new(3, 2).init(&device);
/// let mut optim = EfConfig::new().init(&model);
/// let tape = optim.start();
/// let loss = model.forward_recorded(Tensor::<2>::ones([4, 3], &device)).sum_dim(1).mean();
/// let (_model, report) = optim.step_with_report(0.1, model, tape, loss.backward())?;
/// assert_eq!(report.solve().map(|solve| solve.decrease.len()), Some(4));
/// assert!(report.unused.is_empty() && report.factors.is_none());
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Paths of trainable parameters that no recorded call used. Their update is zero; with momentum
    /// in the solve it is what momentum leaves of the previous one.
    pub unused: Vec<String>,
    /// Factor by which the trust region (exact methods) or the KL clip (K-FAC family) and then the
    /// normalisation scaled the update; 1 without them.
    pub scale: f64,
    /// The solves of exact methods: one, or one for each shard if the shards are not joined. Empty
    /// for the K-FAC family.
    pub solves: Vec<SolveReport>,
    /// What the K-FAC family did; `None` for exact methods.
    pub factors: Option<FactorReport>,
}

impl StepReport {
    pub(super) fn of_solves(solves: Vec<SolveReport>, unused: Vec<String>, scale: f64) -> Self {
        Self {
            unused,
            scale,
            solves,
            factors: None,
        }
    }

    pub(super) fn of_factors(factors: FactorReport, unused: Vec<String>) -> Self {
        Self {
            unused,
            scale: factors.scale,
            solves: Vec::new(),
            factors: Some(factors),
        }
    }

    /// The solve of an exact method: the first one, if there is one for each shard.
    pub fn solve(&self) -> Option<&SolveReport> {
        self.solves.first()
    }
}

impl fmt::Display for StepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(factors) = &self.factors {
            write!(f, "decrease {:.3e}", factors.decrease)?;
            if factors.refreshed {
                f.write_str(", inverses refreshed")?;
            }
        }
        for (index, solve) in self.solves.iter().enumerate() {
            write!(f, "{}{solve}", if index == 0 { "" } else { "; " })?;
        }
        if !self.unused.is_empty() {
            write!(f, ", {} unused parameters", self.unused.len())?;
        }
        if self.scale != 1.0 {
            write!(f, ", scaled by {:.3e}", self.scale)?;
        }
        Ok(())
    }
}

/// What a step of the K-FAC family did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FactorReport {
    /// Whether all inverses were made anew.
    pub refreshed: bool,
    /// `Δᵀg` with the mean gradient: to first order, the fall of the mean loss for a step size of 1
    /// (before normalisation).
    pub decrease: f64,
    /// Factor of the KL clip; 1 inside the bound.
    pub scale: f64,
    /// Paths of covered parameters that took their plain gradient: asked for, or not of the form
    /// that their layer suggests (a convolution with groups, a weight that is also looked up).
    pub plain: Vec<String>,
}

/// How the shards of a step (accumulated batches, devices) become one update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reduction {
    /// The update of one batch that holds all samples: one system over the rows of all shards
    /// (exact methods), or one average over all samples (the K-FAC family).
    #[default]
    Joint,
    /// The mean of the updates of the shards, each solved on its own. Gradients of parameters outside
    /// the group are added up, as Burn does. For exact methods this is
    /// another, usually worse, optimizer than [`Joint`](Self::Joint), with less memory and work.
    Mean,
    /// The sum of the updates of the shards, each solved on its own.
    Sum,
}

named_variants!(
    Reduction,
    "reduction",
    Joint = "joint",
    Mean = "mean",
    Sum = "sum"
);

/// How the shards of a step come together: see [`Method::join`].
///
/// ```
/// use burn_ief::exchange::Exchange;
/// use burn_ief::methods::{Joining, Reduction};
///
/// let joining = Joining::default();
/// assert_eq!((joining.reduction, joining.exchange), (Reduction::Joint, Exchange::new()));
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Joining {
    /// How shards become one update.
    pub reduction: Reduction,
    /// How devices exchange what they measured.
    pub exchange: Exchange,
}

/// A natural-gradient method: from recorded batches to an update, in three phases.
///
/// 1. [`measure`](Self::measure), for every shard: keep what its recorded batch gives.
/// 2. [`join`](Self::join), over all shards of a step.
/// 3. [`update`](Self::update), once: solve, form the update, advance the state.
///
/// One design serves a single device, accumulated batches and several devices.
/// [`NaturalOptimizer`](crate::optim::NaturalOptimizer) and
/// [`NaturalModel`](crate::train::NaturalModel) (feature `train`) run the phases. To write a new
/// update from the Gram matrix, implement [`UpdateRule`](super::UpdateRule) instead:
/// [`Exact`](super::Exact) is the method of a rule.
pub trait Method: Clone + Debug + Send + Sync + 'static {
    /// What the method keeps from step to step, as a module: records save it.
    type State: Module + ModuleDisplay;
    /// What it keeps of one shard until the step.
    type Shard: Send + 'static;
    /// What it makes of all shards of a step.
    type Joined;

    /// The name of the method in records: a record of another method is refused.
    fn record_name(&self) -> String;

    /// What happens to the update.
    fn step_options(&self) -> &StepOptions;

    /// The state before the first step, for the parameters that the method trains.
    fn new_state(&self, params: &[ParamInfo]) -> Self::State;

    /// What [`to_record`](crate::optim::NaturalOptimizer::to_record) saves of a state.
    ///
    /// It is the same whether the method is chosen at compile time or at run time
    /// ([`AnyMethod`](super::AnyMethod)).
    fn save_state(&self, state: Self::State) -> ModuleRecord {
        state.into_record()
    }

    /// A state with the values of a record, which `new` has the shapes of.
    ///
    /// # Errors
    ///
    /// [`Error::Record`] if the record does not fit.
    fn load_state(&self, new: Self::State, record: ModuleRecord) -> Result<Self::State, Error> {
        new.try_load_record(record).map_err(Error::record)
    }

    /// Start the recording of this step's only (or first) shard.
    fn start(&self, step: u64) -> Tape {
        self.start_shard(step, 0)
    }

    /// Start the recording of one of several shards of this step.
    ///
    /// `first_row` is the row of its first sample in the whole batch: the samples of the shards
    /// before it. Drawn labels depend on it, so that the shards draw what one batch would.
    fn start_shard(&self, step: u64, first_row: u64) -> Tape;

    /// The samples of a measured shard, without copies.
    fn shard_samples(&self, shard: &Self::Shard) -> usize;

    /// The labels of a step that is recorded sample by sample, without recorded calls.
    ///
    /// # Errors
    ///
    /// [`Error::BySample`] for methods that need recorded calls.
    fn labels_by_sample(&self, _step: u64) -> Result<Option<LabelDraw>, Error> {
        Err(Error::BySample)
    }

    /// Phase 1: keep what a recorded batch gives.
    ///
    /// # Errors
    ///
    /// [`Error::NoOutput`] and [`Error::NoSampledLabels`] if the recording lacks what the method
    /// needs; [`Error::NonFinite`]; [`Error::ForeignState`] for a state of other parameters.
    fn measure(
        &self,
        batch: RecordedBatch,
        state: &Self::State,
        step: u64,
    ) -> Result<Self::Shard, Error>;

    /// Phase 2: bring the shards of a step together.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if there are no shards, or if they have rows for different parameters;
    /// [`Error::Device`] if a device is lost.
    fn join(&self, shards: Vec<Self::Shard>, how: &Joining) -> Result<Self::Joined, Error>;

    /// Phase 3: the update of a step.
    ///
    /// # Errors
    ///
    /// Those of the solve; [`Error::ForeignState`] for a state of other parameters.
    fn update(
        &self,
        state: Self::State,
        joined: Self::Joined,
        step: u64,
    ) -> Result<MethodUpdate<Self::State>, Error>;
}

/// The name of the type of a rule: the first word of its `Debug` form, in lower case.
pub(super) fn rule_name(rule: &impl Debug) -> String {
    let debug = format!("{rule:?}");
    let word = debug.split(|c: char| !c.is_alphanumeric()).next();
    word.unwrap_or_default().to_lowercase()
}

/// What the last phase of a [`Method`] returns.
#[derive(Debug)]
pub struct MethodUpdate<S> {
    /// The state after the step.
    pub(crate) state: S,
    /// Δ for the parameters that the method trains, not normalised.
    pub(crate) update: Direction,
    /// The parameters that the method trains.
    pub(crate) params: Vec<ParamInfo>,
    /// Plain gradients of all other trainable parameters.
    pub(crate) rest: Rest,
    /// What the step did.
    pub(crate) report: StepReport,
}

impl<S> MethodUpdate<S> {
    /// With the state as part of another type.
    pub(crate) fn map_state<T>(self, f: impl FnOnce(S) -> T) -> MethodUpdate<T> {
        MethodUpdate {
            state: f(self.state),
            update: self.update,
            params: self.params,
            rest: self.rest,
            report: self.report,
        }
    }

    /// Scale Δ to a norm over all parameters, if there is one, and put it where optimizers read it: on
    /// the devices of the model's own `params`.
    pub(crate) fn finish(
        mut self,
        norm: Option<f64>,
        params: &[ParamInfo],
    ) -> Result<(S, GradientsParams, StepReport), Error> {
        let devices = params.iter().map(|param| (param.id, &param.device));
        let devices: HashMap<ParamId, &Device> = devices.collect();
        for own in self.params.iter_mut().chain(&mut self.rest.params) {
            if let Some(&device) = devices.get(&own.id) {
                own.device = device.clone();
            }
        }
        if let Some(norm) = norm {
            let length = self.update.norm(&self.params)?;
            if !length.is_finite() {
                return Err(Error::NonFiniteUpdate);
            }
            // An update of zero stays zero.
            if length > 0.0 {
                self.update.scale(norm / length);
                self.report.scale *= norm / length;
            }
        }
        let mut grads = self.update.into_gradients(&self.params);
        self.rest.register(&mut grads);
        Ok((self.state, grads, self.report))
    }
}
