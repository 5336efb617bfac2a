//! From a recorded batch to the natural gradient.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, ParamGroup, ParamId};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, Optimizer};
use burn::tensor::Gradients;

use super::descent::NaturalDescent;
use super::previous::{Covered, PreviousUpdate};
use crate::error::Error;
use crate::jacobian::{GramPrecision, RecordedBatch};
use crate::params::gradients::normalize;
use crate::record::{LabelDraw, Tape};
use crate::update::{Damping, SolveReport};

/// Which curvature matrix.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rule {
    Ef { cosine_filter: Option<f64> },
    Ief { cosine_filter: Option<f64> },
    Sf { draws: usize, seed: u64 },
    Ngd { classes: usize },
}

/// A natural-gradient method: EF, iEF, SF or the exact one, with its options.
///
/// It takes the place of `GradientsParams::from_grads` in a training loop; the rest of the loop
/// stays as it is.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_ief::nn::ForwardRecorded;
/// use burn_ief::{IefConfig, mark_output};
///
/// let device = Device::flex().autodiff();
/// let mut model = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], burn::tensor::Distribution::Default, &device);
/// let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1], &device);
///
/// let ief = IefConfig::new().build();
/// let mut optim = ief.optimizer();
/// for _ in 0..3 {
///     let tape = ief.start();
///     let logits = mark_output(model.forward_recorded(x.clone()));
///     let loss = CrossEntropyLossConfig::new().init(&device).forward(logits, y.clone());
///     let grads = loss.backward();
///     let grads = ief.gradients(tape, grads, &model)?; // instead of GradientsParams::from_grads
///     model = optim.step(1.0, model, grads);
/// }
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NaturalGradient {
    pub(super) rule: Rule,
    pub(super) damping: Damping,
    pub(super) precision: GramPrecision,
    pub(super) group: Option<ParamGroup>,
    pub(super) normalize: Option<f64>,
    pub(super) trust_region: Option<f64>,
    pub(super) weight_decay: f64,
    pub(super) momentum: Option<MomentumConfig>,
    pub(super) solve_momentum: f64,
    /// Recordings started, shared by clones: the stream of drawn labels.
    pub(super) steps: Arc<AtomicU64>,
}

/// An update and how it came about.
pub struct NaturalStep {
    /// The update (and the plain gradients of parameters outside the group).
    pub gradients: GradientsParams,
    /// What the solve did.
    pub report: SolveReport,
    /// To first order, how much the loss of each sample falls for a step size of 1 (before
    /// normalisation).
    pub decrease: Vec<f64>,
}

impl NaturalGradient {
    /// Start the recording that this method needs.
    ///
    /// For EF and iEF the same as [`Tape::start`]; SF and the exact natural gradient carry copies
    /// of the batch with other labels. Every call draws new labels.
    pub fn start(&self) -> Tape {
        self.start_at(self.steps.fetch_add(1, Ordering::Relaxed))
    }

    /// Like [`start`](Self::start), with the labels that belong to `step`.
    pub fn start_at(&self, step: u64) -> Tape {
        match self.rule {
            Rule::Ef { .. } | Rule::Ief { .. } => Tape::start(),
            Rule::Sf { draws, seed } => {
                Tape::with_drawn_labels(LabelDraw::sample(draws, seed, step))
            }
            Rule::Ngd { classes } => Tape::with_drawn_labels(LabelDraw::Enumerate { classes }),
        }
    }

    /// The natural gradient of a recorded batch, to be handed to an optimizer.
    ///
    /// # Errors
    ///
    /// See [`RecordedBatch::collect`], [`ef`](crate::update::ef), [`ief`](crate::update::ief) and
    /// [`sf`](crate::update::sf);
    /// [`Error::NoState`] with momentum in the solve, see
    /// [`gradients_with`](Self::gradients_with).
    pub fn gradients<M: Module>(
        &self,
        tape: Tape,
        grads: Gradients,
        module: &M,
    ) -> Result<GradientsParams, Error> {
        self.step(tape, grads, module).map(|step| step.gradients)
    }

    /// Like [`gradients`](Self::gradients), with the report of the solve.
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients).
    pub fn step<M: Module>(
        &self,
        tape: Tape,
        grads: Gradients,
        module: &M,
    ) -> Result<NaturalStep, Error> {
        if self.has_solve_momentum() {
            return Err(Error::NoState);
        }
        let recorded = RecordedBatch::collect(tape, grads, module, self.group.as_ref())?;
        let mut step = self.solve(recorded, None)?;
        self.finish(module, &mut step.gradients, &self.covered(module));
        Ok(step)
    }

    /// [`gradients`](Self::gradients) with momentum in the solve: starts from `previous` and leaves
    /// the new update there.
    ///
    /// The method stays a value that can be shared; what changes from step to step is the caller's,
    /// as an optimizer's moments are, and is saved with Burn's records beside the model and the
    /// optimizer. Without `solve_momentum` this is [`gradients`](Self::gradients), and `previous`
    /// holds nothing.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::nn::loss::CrossEntropyLossConfig;
    /// use burn::tensor::{Device, Distribution, Int, Tensor};
    /// use burn_ief::nn::ForwardRecorded;
    /// use burn_ief::{IefConfig, mark_output};
    ///
    /// let device = Device::flex().autodiff();
    /// let mut model = LinearConfig::new(4, 3).init(&device);
    /// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
    /// let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1], &device);
    ///
    /// let ief = IefConfig::new().with_solve_momentum(0.9).build();
    /// let mut optim = ief.optimizer();
    /// let mut previous = ief.new_state(&model);
    /// for _ in 0..3 {
    ///     let tape = ief.start();
    ///     let logits = mark_output(model.forward_recorded(x.clone()));
    ///     let loss = CrossEntropyLossConfig::new().init(&device).forward(logits, y.clone());
    ///     let grads = ief.gradients_with(&mut previous, tape, loss.backward(), &model)?;
    ///     model = optim.step(0.5, model, grads);
    /// }
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients), but for [`Error::NoState`]; [`Error::ForeignState`] if
    /// `previous` was made for other parameters. `previous` is as before then.
    pub fn gradients_with<M: Module>(
        &self,
        previous: &mut PreviousUpdate,
        tape: Tape,
        grads: Gradients,
        module: &M,
    ) -> Result<GradientsParams, Error> {
        self.step_with(previous, tape, grads, module)
            .map(|step| step.gradients)
    }

    /// Like [`gradients_with`](Self::gradients_with), with the report of the solve.
    ///
    /// # Errors
    ///
    /// As [`gradients_with`](Self::gradients_with).
    pub fn step_with<M: Module>(
        &self,
        previous: &mut PreviousUpdate,
        tape: Tape,
        grads: Gradients,
        module: &M,
    ) -> Result<NaturalStep, Error> {
        if !self.has_solve_momentum() {
            return self.step(tape, grads, module);
        }
        let recorded = RecordedBatch::collect(tape, grads, module, self.group.as_ref())?;
        let mut step = self.solve(recorded, Some(previous))?;
        self.advance(module, previous, &mut step.gradients, step.report.scale)?;
        self.finish(module, &mut step.gradients, &self.covered(module));
        Ok(step)
    }

    /// A previous update of zero for a module, into which a record can be loaded: what
    /// [`gradients_with`](Self::gradients_with) starts from.
    ///
    /// Without `solve_momentum` it holds nothing.
    pub fn new_state<M: Module>(&self, module: &M) -> PreviousUpdate {
        match self.has_solve_momentum() {
            true => PreviousUpdate::new(module, self.group()),
            false => PreviousUpdate::nothing(),
        }
    }

    pub(crate) fn has_solve_momentum(&self) -> bool {
        self.solve_momentum > 0.0
    }

    /// The parameters that J covers.
    pub(crate) fn group(&self) -> Option<&ParamGroup> {
        self.group.as_ref()
    }

    /// Whether recordings depend on the step.
    #[cfg(feature = "train")]
    pub(crate) fn draws_labels(&self) -> bool {
        matches!(self.rule, Rule::Sf { .. })
    }

    /// Ids of the trainable parameters of `module` that the natural gradient covers.
    pub(crate) fn covered<M: Module>(&self, module: &M) -> HashSet<ParamId> {
        let covered = Covered::of(module, self.group()).into_iter();
        covered.map(|covered| covered.param.id).collect()
    }

    /// What comes after all directions of a step are added up.
    pub(crate) fn finish<M: Module>(
        &self,
        module: &M,
        grads: &mut GradientsParams,
        natural: &HashSet<ParamId>,
    ) {
        if let Some(norm) = self.normalize {
            normalize(module, grads, natural, norm);
        }
    }

    /// An optimizer that applies the updates, for all parameters.
    pub fn optimizer(&self) -> ModuleOptimizer {
        self.descent().into()
    }

    /// An optimizer that applies the updates to the parameters of the configured group and leaves
    /// all others to `rest`, from the same backward pass.
    ///
    /// ```
    /// use burn::module::ParamGroup;
    /// use burn::optim::AdamWConfig;
    /// use burn_ief::IefConfig;
    ///
    /// let group = ParamGroup::from_predicate("encoder");
    /// let ief = IefConfig::new().with_group(Some(group)).build();
    /// let optim = ief.optimizer_with(AdamWConfig::new().build());
    /// # let _ = optim;
    /// ```
    ///
    /// The two take different step sizes: set them per group with
    /// `burn::lr_scheduler::module_lr_scheduler`.
    pub fn optimizer_with<O: Optimizer>(&self, rest: O) -> ModuleOptimizer {
        match &self.group {
            Some(group) => {
                ModuleOptimizer::from(rest).with_group(group.clone(), self.descent(), None)
            }
            None => self.optimizer(),
        }
    }

    /// The bare optimizer, for [`ModuleOptimizer::with_group`].
    pub fn descent(&self) -> NaturalDescent {
        NaturalDescent::new(self.weight_decay, self.momentum.clone())
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        self.damping.validate()?;
        let positive = |field, value: Option<f64>| match value {
            Some(value) if !(value.is_finite() && value > 0.0) => Err(Error::Config {
                field,
                value: value.to_string(),
                expected: "a finite number above 0",
            }),
            _ => Ok(()),
        };
        positive("normalize", self.normalize)?;
        positive("trust_region", self.trust_region)?;
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return Err(Error::Config {
                field: "weight_decay",
                value: self.weight_decay.to_string(),
                expected: "a finite number of at least 0",
            });
        }
        if let Some(momentum) = &self.momentum
            && !(0.0..1.0).contains(&momentum.momentum)
        {
            return Err(Error::Config {
                field: "momentum",
                value: momentum.momentum.to_string(),
                expected: "at least 0 and below 1",
            });
        }
        if !(0.0..1.0).contains(&self.solve_momentum) {
            return Err(Error::Config {
                field: "solve_momentum",
                value: self.solve_momentum.to_string(),
                expected: "at least 0 and below 1",
            });
        }
        match self.rule {
            Rule::Ef { cosine_filter } | Rule::Ief { cosine_filter } => match cosine_filter {
                Some(limit) if !(limit > 0.0 && limit <= 1.0) => Err(Error::Config {
                    field: "cosine_filter",
                    value: limit.to_string(),
                    expected: "above 0 and at most 1",
                }),
                _ => Ok(()),
            },
            Rule::Sf { draws: 0, .. } => Err(Error::Config {
                field: "draws",
                value: "0".into(),
                expected: "at least 1",
            }),
            Rule::Ngd { classes: 0 } => Err(Error::Config {
                field: "classes",
                value: "0".into(),
                expected: "at least 1",
            }),
            _ => Ok(()),
        }
    }
}
