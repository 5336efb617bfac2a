//! From a recorded batch to the natural gradient.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, Optimizer};
use burn::tensor::{Gradients, Tensor};

use super::descent::NaturalDescent;
use super::normalize::normalize;
use crate::error::Error;
use crate::jacobian::{GramPrecision, Jacobian, Recorded};
use crate::tape::{LabelDraw, Tape};
use crate::update::{self, Coefficients, Damping, SolveReport};

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
/// use burn_ief::nn::LinearRecorded;
/// use burn_ief::{IefConfig, output};
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
///     let logits = output(model.forward_recorded(x.clone()));
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
    /// See [`Recorded::collect`], [`update::ef`], [`update::ief`] and [`update::sf`].
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
        let recorded = Recorded::collect(tape, grads, module, self.group.as_ref())?;
        let mut step = self.solve(recorded)?;
        self.finish(module, &mut step.gradients, &self.covered(module));
        Ok(step)
    }

    /// The update of a recorded batch, not normalised.
    pub(crate) fn solve(&self, recorded: Recorded) -> Result<NaturalStep, Error> {
        let truth = match self.rule {
            Rule::Ief { .. } => Truth::Norms(recorded.output_norms()?),
            Rule::Sf { .. } | Rule::Ngd { .. } => Truth::Matches(recorded.label_matches()?),
            Rule::Ef { .. } => Truth::Nothing,
        };
        let samples = recorded.samples();
        let (jacobian, rest) = recorded.into_all_rows();
        let jacobian = match truth {
            Truth::Matches(_) => jacobian,
            _ => jacobian.narrow(0, samples)?,
        };
        let jacobian = jacobian.with_precision(self.precision);
        let unused = jacobian.unused();
        let mut step = match truth {
            // No more parameters than drawn rows: solve for the parameters themselves.
            Truth::Matches(_) if jacobian.columns() <= jacobian.samples() - samples => {
                self.small(&jacobian, samples)?
            }
            truth => self.dual(jacobian, samples, &truth)?,
        };
        step.report.unused = unused;
        rest.register(&mut step.gradients);
        Ok(step)
    }

    fn dual(
        &self,
        jacobian: Jacobian,
        samples: usize,
        truth: &Truth,
    ) -> Result<NaturalStep, Error> {
        let gram = jacobian.gram()?;
        let epsilon = jacobian.gram_epsilon();
        let mut update: Coefficients = match (&self.rule, truth) {
            (Rule::Ef { cosine_filter }, _) => {
                update::ef(&gram, &self.damping, epsilon, *cosine_filter)?
            }
            (Rule::Ief { cosine_filter }, Truth::Norms(s)) => {
                update::ief(&gram, s, &self.damping, epsilon, *cosine_filter)?
            }
            (_, Truth::Matches(matches)) => {
                update::sf(&gram, samples, matches, &self.damping, epsilon)?
            }
            _ => return Err(Error::NoSampledLabels),
        };
        if let Some(radius) = self.trust_region {
            update.clip(radius);
        }
        Ok(NaturalStep {
            gradients: jacobian.into_t_matvec(&update.values)?,
            report: update.report,
            decrease: update.decrease,
        })
    }

    fn small(&self, jacobian: &Jacobian, samples: usize) -> Result<NaturalStep, Error> {
        let rows = jacobian.to_dense();
        let (mut delta, mut report) =
            update::sf_small(&rows, samples, &self.damping, jacobian.gram_epsilon())?;
        if let Some(radius) = self.trust_region {
            let curvature = rows[samples..]
                .iter()
                .map(|row| crate::linalg::dot(row, &delta).powi(2));
            report.scale = update::clip_factor(curvature.sum(), radius);
            delta.iter_mut().for_each(|x| *x *= report.scale);
        }
        let decrease = rows[..samples]
            .iter()
            .map(|row| crate::linalg::dot(row, &delta));
        Ok(NaturalStep {
            decrease: decrease.collect(),
            gradients: jacobian.unflatten(&delta)?,
            report,
        })
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
        struct Covered<'a> {
            group: Option<&'a ParamGroup>,
            path: Vec<String>,
            ids: HashSet<ParamId>,
        }
        impl ModuleVisitor for Covered<'_> {
            fn enter_module(&mut self, name: &str, _container_type: &str) {
                self.path.push(name.to_string());
            }
            fn exit_module(&mut self, _name: &str, _container_type: &str) {
                self.path.pop();
            }
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let path = self.path.join(".");
                let inside = |group: &ParamGroup| group.matches(&param.id, Some(&path));
                if param.is_require_grad() && self.group.is_none_or(inside) {
                    self.ids.insert(param.id);
                }
            }
        }
        let mut covered = Covered {
            group: self.group(),
            path: Vec::new(),
            ids: HashSet::new(),
        };
        module.visit(&mut covered);
        covered.ids
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

/// What a rule needs beside the Gram matrix.
enum Truth {
    Nothing,
    Norms(Vec<f64>),
    Matches(Vec<bool>),
}
