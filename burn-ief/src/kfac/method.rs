//! From recorded batches to preconditioned gradients.

use burn::module::{Module, ParamGroup};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, ModuleOptimizer, Optimizer};
use burn::tensor::{Gradients, Tensor};

use super::factors::{RowWeights, Uses};
use super::layout::{Form, Layout, Slot};
use super::options::{Estimate, KroneckerDamping, Others, Sharing};
use super::state::{KroneckerState, Statistics};
use crate::error::Error;
use crate::jacobian::{Part, RecordedBatch};
use crate::optim::NaturalDescent;
use crate::params::Direction;
use crate::params::gradients::normalize;
use crate::record::{LabelDraw, Tape};

/// Everything that a configuration says.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub estimate: Estimate,
    pub draws: usize,
    pub seed: u64,
    pub damping: KroneckerDamping,
    pub sharing: Sharing,
    pub decay: f64,
    pub factor_interval: usize,
    pub inverse_interval: usize,
    pub warm_up: usize,
    pub max_dimension: usize,
    pub others: Others,
    pub group: Option<ParamGroup>,
    pub kl_clip: Option<f64>,
    pub normalize: Option<f64>,
    pub weight_decay: f64,
    pub momentum: Option<MomentumConfig>,
}

impl Settings {
    /// Whether the factors are measured in this step.
    pub fn measures(&self, step: u64) -> bool {
        self.warms_up(step) || step.is_multiple_of(self.factor_interval as u64)
    }

    /// Whether all inverses are made anew in this step.
    pub fn inverts(&self, step: u64) -> bool {
        self.warms_up(step) || step.is_multiple_of(self.inverse_interval as u64)
    }

    fn warms_up(&self, step: u64) -> bool {
        step < self.warm_up as u64
    }

    /// The recording that a step needs.
    pub fn start_at(&self, step: u64) -> Tape {
        if !self.measures(step) {
            return Tape::start();
        }
        let tape = match self.estimate {
            Estimate::Sampled => {
                Tape::with_drawn_labels(LabelDraw::sample(self.draws, self.seed, step))
            }
            Estimate::Empirical | Estimate::Improved => Tape::start(),
        };
        tape.with_factored_rows()
    }

    /// Mean gradients of a recorded batch (and what `backward` gave for parameters outside the
    /// group), and what else it says.
    pub fn measure<M: Module>(
        &self,
        module: &M,
        recorded: RecordedBatch,
        state: &KroneckerState,
    ) -> Result<(GradientsParams, Statistics), Error> {
        match recorded.output_norms() {
            // Only ieKFAC needs it; the others profit where it is there: it names bad samples.
            Err(Error::NoOutput) if self.estimate != Estimate::Improved => {}
            result => drop(result?),
        }
        let layout = Layout::new(module, self);
        state.fits(&layout)?;
        let part = &recorded.all_rows().parts[0];
        let curvature = match self.measures(state.steps()) {
            true => {
                let weights = RowWeights::new(&recorded, self.estimate)?;
                let slots = layout.slots.iter();
                slots
                    .map(|slot| self.curvature(slot, part, &weights))
                    .collect()
            }
            false => layout.slots.iter().map(|_| None).collect(),
        };
        let samples = recorded.samples();
        let slots = layout.slots.iter().zip(state.kept(self));
        let updates = slots.map(|(slot, inverses)| {
            let uses = fitting(slot, part)?;
            uses.preconditioned(samples, part.scale, inverses?)
        });
        let updates = updates.collect();
        let (rows, rest) = recorded.into_all_rows();
        let rows = rows.narrow(0, samples)?;
        let mut gradients = rows.into_t_matvec(&vec![1.0 / samples as f64; samples])?;
        rest.register(&mut gradients);
        Ok((gradients, Statistics { curvature, updates }))
    }

    fn curvature(&self, slot: &Slot, part: &Part, weights: &RowWeights) -> Option<Vec<Tensor<2>>> {
        match slot.form {
            Form::Plain => None,
            Form::Kronecker {
                inputs, outputs, ..
            } => {
                let [a, b] = fitting(slot, part)?.factors(weights, self.sharing);
                let fits = a.dims() == [inputs; 2] && b.dims() == [outputs; 2];
                fits.then(|| vec![a, b])
            }
            Form::Diagonal => {
                let mut squares = Direction::default();
                let covered = |block: &&crate::jacobian::Block| {
                    slot.params().any(|param| block.covers(param.id))
                };
                for block in part.blocks.iter().filter(covered) {
                    for (id, square) in weights.squares(block) {
                        squares.add(id, square);
                    }
                }
                let diagonal = slot.vector(&squares)?;
                Some(vec![diagonal.reshape([1, slot.columns()])])
            }
        }
    }

    /// Take the curvature of a batch in and precondition its mean gradients.
    pub fn precondition<M: Module>(
        &self,
        module: &M,
        state: KroneckerState,
        statistics: Statistics,
        grads: &mut GradientsParams,
    ) -> Result<(KroneckerState, KroneckerReport), Error> {
        let layout = Layout::new(module, self);
        state.fits(&layout)?;
        let Statistics { curvature, updates } = statistics;
        let (state, refreshed) = state.advance(&layout, curvature, self)?;
        let mut report = state.precondition(&layout, updates, grads, self)?;
        report.refreshed = refreshed;
        if let Some(norm) = self.normalize {
            normalize(module, grads, &layout.ids(), norm);
        }
        Ok((state, report))
    }

    /// Ids of the parameters of a module that are preconditioned.
    #[cfg(feature = "train")]
    pub fn covered<M: Module>(
        &self,
        module: &M,
    ) -> std::collections::HashSet<burn::module::ParamId> {
        Layout::new(module, self).ids()
    }

    pub fn descent(&self) -> NaturalDescent {
        NaturalDescent::new(self.weight_decay, self.momentum.clone())
    }
}

/// The uses of a slot's layer, if they are as its type says.
fn fitting<'a>(slot: &Slot, part: &'a Part) -> Option<Uses<'a>> {
    let Form::Kronecker { input_side, .. } = slot.form else {
        return None;
    };
    let mut blocks = part.blocks.iter();
    let block = blocks.find(|block| block.parameter == slot.weight.id)?;
    let uses = Uses::of(block)?;
    let bias = slot.bias.as_ref().map(|bias| bias.id);
    (uses.input_side == input_side && block.bias == bias).then_some(uses)
}

/// What a step of the K-FAC family did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KroneckerReport {
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
    /// Paths of trainable parameters that no recorded use reached.
    pub unused: Vec<String>,
}

/// An update and how it came about.
pub struct KroneckerStep {
    /// The update (and the plain gradients of parameters outside the group).
    pub gradients: GradientsParams,
    /// What the step did.
    pub report: KroneckerReport,
}

/// K-FAC, eKFAC or ieKFAC with its options and state, for loops of one's own.
///
/// It takes the place of `GradientsParams::from_grads`. For learners hand it to `Natural::new`.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_ief::nn::ForwardRecorded;
/// use burn_ief::{IekfacConfig, mark_output};
///
/// let device = Device::flex().autodiff();
/// let mut model = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], burn::tensor::Distribution::Default, &device);
/// let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1], &device);
///
/// let mut kfac = IekfacConfig::new().build();
/// let mut optim = kfac.optimizer();
/// for _ in 0..3 {
///     let tape = kfac.start();
///     let logits = mark_output(model.forward_recorded(x.clone()));
///     let loss = CrossEntropyLossConfig::new().init(&device).forward(logits, y.clone());
///     let grads = loss.backward();
///     let grads = kfac.gradients(tape, grads, &model)?; // instead of GradientsParams::from_grads
///     model = optim.step(0.5, model, grads);
/// }
/// assert_eq!(kfac.state().map(|state| state.steps()), Some(3));
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Kfac {
    pub(super) settings: Settings,
    pub(super) state: Option<KroneckerState>,
}

impl Kfac {
    /// Start the recording that the next step needs.
    ///
    /// K-FAC carries copies of the batch with drawn labels, in the steps that measure the factors.
    pub fn start(&self) -> Tape {
        let step = self.state.as_ref().map_or(0, KroneckerState::steps);
        self.settings.start_at(step)
    }

    /// The update of a recorded batch, to be handed to an optimizer.
    ///
    /// # Errors
    ///
    /// See [`RecordedBatch::collect`]; [`Error::NoOutput`] for ieKFAC without a marked output,
    /// [`Error::NoSampledLabels`] for K-FAC if the tape is not from [`start`](Self::start),
    /// [`Error::Curvature`] for factors or updates that are not finite, [`Error::Size`] if the state
    /// belongs to another module. The state is as before then.
    pub fn gradients<M: Module>(
        &mut self,
        tape: Tape,
        grads: Gradients,
        module: &M,
    ) -> Result<GradientsParams, Error> {
        self.step(tape, grads, module).map(|step| step.gradients)
    }

    /// Like [`gradients`](Self::gradients), with a report.
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients).
    pub fn step<M: Module>(
        &mut self,
        tape: Tape,
        grads: Gradients,
        module: &M,
    ) -> Result<KroneckerStep, Error> {
        let group = self.settings.group.as_ref();
        let recorded = RecordedBatch::collect(tape, grads, module, group)?;
        let unused = recorded.all_rows().unused();
        let state = match &self.state {
            Some(state) => state.clone(),
            None => self.new_state(module),
        };
        let (mut gradients, statistics) = self.settings.measure(module, recorded, &state)?;
        let preconditioned =
            self.settings
                .precondition(module, state, statistics, &mut gradients)?;
        let (state, mut report) = preconditioned;
        report.unused = unused;
        self.state = Some(state);
        Ok(KroneckerStep { gradients, report })
    }

    #[cfg(feature = "train")]
    pub(crate) fn into_settings(self) -> Settings {
        self.settings
    }

    /// The state after the latest step, to be saved.
    pub fn state(&self) -> Option<&KroneckerState> {
        self.state.as_ref()
    }

    /// An empty state for a module, into which a record can be loaded.
    pub fn new_state<M: Module>(&self, module: &M) -> KroneckerState {
        KroneckerState::new(&Layout::new(module, &self.settings))
    }

    /// Continue with this state.
    pub fn with_state(self, state: KroneckerState) -> Self {
        Self {
            state: Some(state),
            ..self
        }
    }

    /// An optimizer that applies the updates, for all parameters.
    pub fn optimizer(&self) -> ModuleOptimizer {
        self.settings.descent().into()
    }

    /// An optimizer that applies the updates to the parameters of the configured group and leaves
    /// all others to `rest`, from the same backward pass.
    pub fn optimizer_with<O: Optimizer>(&self, rest: O) -> ModuleOptimizer {
        match &self.settings.group {
            Some(group) => {
                ModuleOptimizer::from(rest).with_group(group.clone(), self.settings.descent(), None)
            }
            None => self.optimizer(),
        }
    }
}
