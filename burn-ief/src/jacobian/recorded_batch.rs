//! What a recorded batch gives: its Jacobian, output gradients and remaining gradients.

use std::collections::HashSet;

use burn::module::{Flag, Module, Param, ParamGroup, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor};

use super::outputs::{Outputs, read_facts};
use super::part::assemble;
use super::{Block, GramPrecision, Jacobian, Part};
use crate::error::Error;
use crate::params::{self, Direction, ParamInfo, ParamVisitor, Place};
use crate::record::{LabelDraw, LossScale, RecordedUse, Tape};
use crate::rows::Rows;

/// Everything that a recorded batch gives: the Jacobian, the gradients at the output, and the
/// gradients of parameters that are left to another optimizer.
///
/// Every update rule starts from it. Use it to write an update rule of your own.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::jacobian::RecordedBatch;
/// use burn_ief::nn::ForwardRecorded;
/// use burn_ief::{Likelihood, Tape, mark_mean_loss, mark_output_as};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(3, 1).init(&device);
/// let x = Tensor::<2>::ones([4, 3], &device);
/// let y = Tensor::<2>::zeros([4, 1], &device);
///
/// let tape = Tape::start();
/// let z = mark_output_as(layer.forward_recorded(x), Likelihood::Gaussian);
/// let losses = (z.clone() - y).square().mul_scalar(0.5);
/// let grads = mark_mean_loss(losses.squeeze_dim(1)).backward();
/// let recorded = RecordedBatch::collect(tape, grads, &layer, None)?;
///
/// // s_n = ‖∂l_n/∂z_n‖² = z_n².
/// let z = z.inner().into_data().to_vec::<f32>().unwrap();
/// assert!((recorded.output_norms()?[0] - f64::from(z[0] * z[0])).abs() < 1e-5);
/// assert_eq!(recorded.jacobian().samples(), 4);
/// # Ok::<(), burn_ief::Error>(())
/// ```
pub struct RecordedBatch {
    /// Rows of the samples, then of their copies with drawn labels.
    pub(super) jacobian: Jacobian,
    pub(super) samples: usize,
    pub(super) labels: Option<LabelDraw>,
    pub(super) outputs: Outputs,
    pub(super) rest: Rest,
    /// Two paths at which one trainable parameter was found.
    pub(super) shared: Option<(String, String)>,
}

/// Gradients of the trainable parameters outside the group, as `backward` gives them.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub params: Vec<ParamInfo>,
    pub gradients: Direction,
    pub scale: LossScale,
    /// Samples of the batch.
    pub samples: usize,
}

impl Rest {
    /// Put the gradients where optimizers read them.
    pub fn register(self, grads: &mut GradientsParams) {
        self.gradients.register(&self.params, grads);
    }

    /// The gradients that one batch of all samples would give.
    ///
    /// A declared factor counts as one over a number of terms (tokens, class weights), which add up
    /// over the shards.
    pub fn join(mut rests: Vec<Self>) -> Self {
        if rests.len() == 1 {
            return rests.swap_remove(0);
        }
        let factors = rests.iter().map(|rest| rest.scale.factor(rest.samples));
        let factors: Vec<f64> = factors.collect();
        let sums = rests.iter().all(|rest| rest.scale == LossScale::Sum);
        let joint = if sums {
            1.0
        } else {
            1.0 / factors.iter().map(|factor| 1.0 / factor).sum::<f64>()
        };
        for (rest, factor) in rests.iter_mut().zip(factors) {
            rest.gradients.scale(joint / factor);
        }
        Self::sum(rests)
    }

    /// The sum of the gradients, as Burn's gradient accumulation forms it.
    pub fn sum(rests: Vec<Self>) -> Self {
        let mut rests = rests.into_iter();
        let mut first = rests.next().unwrap_or_default();
        for rest in rests {
            first.gradients.add_all(&first.params, rest.gradients);
            first.samples += rest.samples;
        }
        first
    }
}

impl RecordedBatch {
    /// Collect what a tape recorded.
    ///
    /// `group` limits J to the parameters that it matches. For all other trainable parameters,
    /// recorded or not, [`take_rest`](Self::take_rest) returns the gradients that `backward` gives,
    /// including the loss scale.
    ///
    /// # Errors
    ///
    /// The first error of the recording; [`Error::BatchNorm`], [`Error::UnrecordedUse`],
    /// [`Error::ForeignParameter`], [`Error::NothingRecorded`], [`Error::RowShape`] (if a rule of
    /// your own returns rows of the wrong shape), and [`Error::LossScale`] if the gradients at the
    /// marked outputs show another scale than the declared one.
    pub fn collect<M: Module>(
        tape: Tape,
        mut grads: Gradients,
        module: &M,
        group: Option<&ParamGroup>,
    ) -> Result<Self, Error> {
        let recording = tape.finish(&grads);
        let walk = Found::walk(module, &mut grads, group);
        // Errors of the recording know parameters by id; the walk knows their paths.
        let recording = recording.map_err(|error| walk.name(error))?;
        if let Some(module) = walk.coupling_batch_norm(&recording.uses) {
            return Err(Error::BatchNorm { module });
        }
        if !walk.unrecorded.is_empty() {
            return Err(Error::UnrecordedUse {
                parameters: walk.unrecorded,
            });
        }
        let outputs = read_facts(
            recording.index_checks,
            recording.outputs,
            recording.samples,
            recording.labels.as_ref(),
            Some(recording.alpha),
        )
        .map_err(|error| walk.name(error))?;
        let copies = 1 + recording.labels.as_ref().map_or(0, LabelDraw::copies);
        let rows = recording.samples * copies;
        walk.check(&recording.uses, rows)?;
        let blocks = assemble(recording.uses);

        let inside: HashSet<ParamId> = walk.natural.iter().map(|p| p.id).collect();
        let covered = |block: &Block| inside.contains(&block.parameter);
        let (natural, others): (Vec<_>, Vec<_>) = blocks
            .into_iter()
            .flat_map(|block| match block.bias {
                // A group may contain a weight without its bias.
                Some(bias) if inside.contains(&bias) != covered(&block) => block.split(),
                _ => vec![block],
            })
            .partition(|block| covered(block));
        let first = walk.natural.first().ok_or(Error::NothingRecorded)?;
        let (device, dtype) = (first.device.clone(), first.update_dtype());
        if natural.is_empty() {
            return Err(Error::NothingRecorded);
        }
        let part = |blocks, scale| Part {
            start: 0,
            samples: rows,
            scale,
            blocks,
            device: device.clone(),
            dtype,
        };
        // Parameters outside the group: what `backward` gave, and the recorded rows of the samples
        // (without the copies).
        let mut rest = Rest {
            gradients: Direction::from_gradients(&walk.others, &walk.rest)?.widened(),
            params: walk.others,
            scale: recording.scale,
            samples: recording.samples,
        };
        if !others.is_empty() {
            let others = part(others, 1.0).narrow(0, recording.samples);
            others.add_t_matvec(&vec![1.0; recording.samples], &mut rest.gradients);
        }
        Ok(Self {
            jacobian: Jacobian {
                parts: vec![part(natural, 1.0 / recording.alpha)],
                params: walk.natural,
                precision: GramPrecision::default(),
                deadline: None,
            },
            samples: recording.samples,
            labels: recording.labels,
            outputs,
            rest,
            shared: walk.shared,
        })
    }

    /// Refuse to train a parameter that two modules hold.
    ///
    /// Every view of J counts it once. But Burn's optimizers update each holder by itself: the first
    /// takes the update, the others stay, and the copies are no longer one parameter.
    pub(crate) fn check_single_holders(&self) -> Result<(), Error> {
        match &self.shared {
            Some((first, second)) => Err(Error::SharedParameter {
                first: first.clone(),
                second: second.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Number of samples M in the batch, without copies.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// J, one row per sample.
    pub fn jacobian(&self) -> Jacobian {
        let rows = self.jacobian.narrow(0, self.samples);
        rows.expect("a recording holds the rows of its samples")
    }

    /// The rows of the samples, followed by the rows of their copies with drawn labels. The copies
    /// are scaled so that their outer products sum to the (estimated) Fisher matrix.
    pub fn all_rows(&self) -> &Jacobian {
        &self.jacobian
    }

    /// All rows and the remaining gradients, without cloning them.
    pub(crate) fn into_all_rows(self) -> (Jacobian, Rest) {
        (self.jacobian, self.rest)
    }

    /// How the labels of the copies were drawn; `None` without copies.
    pub fn labels(&self) -> Option<&LabelDraw> {
        self.labels.as_ref()
    }

    /// s_n = ‖∂l_n/∂z_n‖² at the marked outputs, `[M]` (sum form).
    ///
    /// # Errors
    ///
    /// [`Error::NoOutput`] if none was marked; [`Error::NonFinite`] naming the samples.
    pub fn output_norms(&self) -> Result<Vec<f64>, Error> {
        self.outputs.norms()
    }

    /// Whether each sample is fitted to the precision of the outputs, so that its row is rounding;
    /// `None` if no output was marked.
    pub fn fitted(&self) -> Option<Vec<bool>> {
        self.outputs.fitted.clone()
    }

    /// Whether the output gradients of the labels that the curvature comes from are more than
    /// rounding: not every sample is fitted, and drawn labels are not all certain.
    pub(crate) fn shows_curvature(&self) -> bool {
        let fitted = self.outputs.fitted.as_ref();
        let fitted = fitted.is_some_and(|fitted| fitted.iter().all(|&fitted| fitted));
        !fitted && self.outputs.curvature.unwrap_or(true)
    }

    /// Whether the drawn label of each copy is the true label, copy after copy, `[K * M]`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSampledLabels`] if the recording has no copies.
    pub fn label_matches(&self) -> Result<Vec<bool>, Error> {
        match &self.labels {
            Some(LabelDraw::Sample { .. }) => {
                self.outputs.matches.clone().ok_or(Error::NoSampledLabels)
            }
            // Enumerated labels are not drawn.
            Some(draw) => Ok(vec![false; draw.copies() * self.samples]),
            None => Err(Error::NoSampledLabels),
        }
    }

    /// Gradients of the trainable parameters outside the group, as `backward` gives them.
    pub fn take_rest(&mut self) -> GradientsParams {
        let gradients = std::mem::take(&mut self.rest.gradients);
        gradients.into_gradients(&self.rest.params)
    }
}

/// What one walk over the module finds.
struct Walk<'a> {
    grads: &'a mut Gradients,
    group: Option<&'a ParamGroup>,
    found: Found,
}

#[derive(Default)]
struct Found {
    natural: Vec<ParamInfo>,
    others: Vec<ParamInfo>,
    /// Gradients of `others` that autodiff holds.
    rest: GradientsParams,
    /// Paths of `natural` parameters that autodiff holds gradients of.
    unrecorded: Vec<String>,
    /// The first BatchNorm in training mode that is trained, or has trained parameters before it.
    batch_norm: Option<String>,
    /// Another one: all trained parameters come after it in the module.
    leading_batch_norm: Option<String>,
    /// The first two paths of a parameter that is held twice.
    shared: Option<(String, String)>,
}

impl Found {
    fn walk<M: Module>(module: &M, grads: &mut Gradients, group: Option<&ParamGroup>) -> Self {
        let mut walk = Walk {
            grads,
            group,
            found: Self::default(),
        };
        params::visit(module, &mut walk);
        walk.found
    }
}

impl ParamVisitor for Walk<'_> {
    fn float<const D: usize>(&mut self, place: &Place<'_>, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let mut known = self.found.natural.iter().chain(&self.found.others);
        // A parameter that two layers share is visited twice.
        if let Some(first) = known.find(|known| known.id == param.id) {
            let paths = (first.path.clone(), place.path());
            self.found.shared.get_or_insert(paths);
            return;
        }
        let info = ParamInfo::new(place, param);
        let value = param.base();
        let inside = |group: &ParamGroup| group.matches(&param.id, Some(&info.path));
        if self.group.is_none_or(inside) {
            if value.grad(self.grads).is_some() {
                self.found.unrecorded.push(info.path.clone());
            }
            self.found.natural.push(info);
        } else {
            if let Some(grad) = value.grad_remove(self.grads) {
                self.found.rest.register(param.id, grad);
            }
            self.found.others.push(info);
        }
    }

    fn flag(&mut self, place: &Place<'_>, flag: &Param<Flag>) {
        if place.is_training_batch_norm(flag) {
            // Its own parameters come before its flag.
            let found = &mut self.found;
            let layer = if found.natural.is_empty() {
                &mut found.leading_batch_norm
            } else {
                &mut found.batch_norm
            };
            layer.get_or_insert(place.parent());
        }
    }
}

impl Found {
    /// A BatchNorm in training mode that couples the gradients of this step: it or something in front
    /// of it is trained.
    ///
    /// What is in front is taken from the order of the module. That order is only trusted if the
    /// recorded calls came in the same order.
    fn coupling_batch_norm(&self, uses: &[RecordedUse]) -> Option<String> {
        if self.batch_norm.is_some() || self.leading_batch_norm.is_none() {
            return self.batch_norm.clone();
        }
        // The place of the layer: its weight and bias are recorded in any order.
        let layer = |param: &ParamInfo| {
            param
                .path
                .rsplit_once('.')
                .map(|(layer, _)| layer.to_string())
        };
        let place = |use_: &RecordedUse| {
            let own = self.natural.iter().find(|p| p.id == use_.parameter)?;
            self.natural.iter().position(|p| layer(p) == layer(own))
        };
        let in_order = uses.iter().filter_map(place).is_sorted();
        if in_order {
            None
        } else {
            self.leading_batch_norm.clone()
        }
    }

    fn path(&self, id: &str) -> Option<String> {
        let mut all = self.natural.iter().chain(&self.others);
        all.find(|param| param.id.to_string() == id)
            .map(|param| param.path.clone())
    }

    /// Put paths in the place of ids.
    fn name(&self, error: Error) -> Error {
        match error {
            Error::BatchMismatch {
                parameter,
                expected,
                found,
            } => Error::BatchMismatch {
                parameter: self.path(&parameter).unwrap_or(parameter),
                expected,
                found,
            },
            Error::IndexRange { what, size, found } => {
                let mut all = self.natural.iter().chain(&self.others);
                let named = all.find(|param| what.contains(&param.id.to_string()));
                Error::IndexRange {
                    what: match named {
                        Some(param) => what.replace(&param.id.to_string(), &param.path),
                        None => what,
                    },
                    size,
                    found,
                }
            }
            other => other,
        }
    }

    fn check(&self, blocks: &[RecordedUse], samples: usize) -> Result<(), Error> {
        for block in blocks {
            let mut all = self.natural.iter().chain(&self.others);
            let Some(param) = all.find(|param| param.id == block.parameter) else {
                return Err(Error::ForeignParameter {
                    id: block.parameter.to_string(),
                });
            };
            let expected = [samples, param.shape.num_elements()];
            let found = [block.rows.samples(), block.rows.len()];
            let fits_bias = block.bias.is_none() || matches!(block.rows, Rows::Outer(_));
            if expected != found || !fits_bias {
                return Err(Error::RowShape {
                    parameter: param.path.clone(),
                    expected: format!("{expected:?}"),
                    found: format!("{found:?}"),
                });
            }
        }
        Ok(())
    }
}
