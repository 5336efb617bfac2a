//! Kronecker factors of the layers of a recorded batch.

use burn::module::ParamId;
use burn::tensor::{Tensor, TensorData};

use super::damping::FactorDamping;
use super::gradient_rows::GradientRows;
use super::inverse::{LayerInverses, damped_inverse, invert, on_device, on_host};
use super::options::{FactorLabels, WeightSharing};
use crate::error::Error;
use crate::host::to_host;
use crate::jacobian::{Block, Part, RecordedBatch};
use crate::linalg::RowSpan;
use crate::moves::moved;
use crate::rows::{Outer, Rows, Side, matmul};

/// The factors A and B of one layer, means over a batch.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::jacobian::RecordedBatch;
/// use burn_ief::methods::kfac::{FactorLabels, FactorDamping, WeightSharing, layer_factors};
/// use burn_ief::nn::ForwardRecorded;
/// use burn_ief::{Likelihood, Tape, mark_mean_loss, mark_output_as};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(3, 2).init(&device);
/// let tape = Tape::start();
/// let z = layer.forward_recorded(Tensor::<2>::ones([4, 3], &device));
/// let z = mark_output_as(z, Likelihood::Gaussian);
/// let grads = mark_mean_loss(z.square().sum_dim(1).squeeze_dim::<1>(1) * 0.5).backward();
/// let recorded = RecordedBatch::collect(tape, grads, &layer, None)?;
///
/// let layers = layer_factors(&recorded, FactorLabels::Improved, WeightSharing::Expand)?;
/// let factors = &layers[0];
/// assert_eq!(factors.bias, layer.bias.as_ref().map(|bias| bias.id));
/// // Three inputs and the constant one of the bias.
/// assert_eq!((factors.input.dims(), factors.error.dims()), ([4, 4], [2, 2]));
/// let inverses = factors.invert(&FactorDamping::relative(1e-3))?;
/// let update = inverses.apply(Tensor::ones([4, 2], &device.inner()));
/// assert_eq!(update.dims(), [4, 2]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LayerFactors {
    /// The weight.
    pub weight: ParamId,
    /// Its bias, as a last input that is constantly 1.
    pub bias: Option<ParamId>,
    /// Path of the weight in the module.
    pub path: String,
    /// `A = E[aᵀa]`, `[i (+ 1), i (+ 1)]`.
    pub input: Tensor<2>,
    /// `B = E[eᵀe]`, `[o, o]`.
    pub error: Tensor<2>,
    /// The weighted inputs X, with A = XᵀX.
    rows: Tensor<2>,
}

impl LayerFactors {
    /// The factors of all samples of a step from those of its shards, each with its number of
    /// samples.
    ///
    /// The factors are means over samples, so these are the means of the shards' factors, weighted by
    /// their samples: the same as from one recording of all samples, if they have the same number of
    /// positions. `None` without a shard with samples, or for shards of several layers.
    ///
    /// ```
    /// # use burn::nn::LinearConfig;
    /// # use burn::tensor::{Device, Distribution, Tensor};
    /// # use burn_ief::jacobian::RecordedBatch;
    /// # use burn_ief::methods::kfac::{FactorLabels, LayerFactors, WeightSharing, layer_factors};
    /// # use burn_ief::nn::ForwardRecorded;
    /// # use burn_ief::{LossScale, Tape, mark_output};
    /// # let device = Device::flex().autodiff();
    /// # let layer = LinearConfig::new(3, 2).init(&device);
    /// # let x = Tensor::<2>::random([5, 3], Distribution::Normal(0.0, 1.0), &device);
    /// let factors = |x: Tensor<2>| {
    ///     let tape = Tape::start().with_loss_scale(LossScale::Sum);
    ///     let z = mark_output(layer.forward_recorded(x));
    ///     let grads = (z.square().sum() * 0.5).backward();
    ///     let recorded = RecordedBatch::collect(tape, grads, &layer, None)?;
    ///     let layers = layer_factors(&recorded, FactorLabels::Empirical, WeightSharing::Expand)?;
    ///     Ok::<LayerFactors, burn_ief::Error>(layers[0].clone())
    /// };
    /// let whole = factors(x.clone())?;
    /// let shards = vec![
    ///     (2, factors(x.clone().narrow(0, 0, 2))?),
    ///     (3, factors(x.narrow(0, 2, 3))?),
    /// ];
    /// let joined = LayerFactors::join(shards).unwrap();
    /// for difference in [joined.error - whole.error, joined.input - whole.input] {
    ///     assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
    /// }
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    pub fn join(shards: Vec<(usize, Self)>) -> Option<Self> {
        let samples: usize = shards.iter().map(|(samples, _)| samples).sum();
        let mut shards = shards.into_iter().filter(|(samples, _)| *samples > 0);
        let share = |count: usize| count as f64 / samples as f64;
        let (count, first) = shards.next()?;
        let mut joined = Self {
            input: first.input * share(count),
            error: first.error * share(count),
            rows: first.rows * share(count).sqrt(),
            ..first
        };
        for (count, shard) in shards {
            if shard.weight != joined.weight || shard.bias != joined.bias {
                return None;
            }
            let device = joined.input.device();
            joined.input = joined.input + moved(shard.input * share(count), &device);
            joined.error = joined.error + moved(shard.error * share(count), &device);
            let rows = moved(shard.rows * share(count).sqrt(), &device);
            joined.rows = Tensor::cat(vec![joined.rows, rows], 0);
        }
        Some(joined)
    }

    /// Damp and invert, on the host: in f64, or large factors in f32 where that is precise enough (the
    /// product of inverse and matrix is the identity to 1e-3).
    ///
    /// # Errors
    ///
    /// [`Error::Curvature`] if a factor holds NaN or infinity.
    pub fn invert(&self, damping: &FactorDamping) -> Result<LayerInverses, Error> {
        invert(&self.path, &self.input, &self.error, damping)
    }

    /// Like [`invert`](Self::invert), within the span of the inputs.
    ///
    /// For gradients of the same batch, which are combinations of these inputs: they have no
    /// component outside, and with a damping near zero what rounding puts there would be divided
    /// by it. On the reference cases at λ = 1e-12 that is nearly all the error there is. The span is
    /// that of the inputs themselves, not of A, whose square root of rounding is much coarser;
    /// its cost grows with `rows · i²` (rows are samples times positions).
    ///
    /// # Errors
    ///
    /// As [`invert`](Self::invert), and [`Error::Eigen`].
    pub fn invert_in_span(&self, damping: &FactorDamping) -> Result<LayerInverses, Error> {
        let [_, columns] = self.rows.dims();
        let span = RowSpan::new(columns, &to_host(self.rows.clone()))?;
        let error = on_host(&self.error);
        let shifts = damping.shifts(span.mean_square(), error.mean_diagonal());
        Ok(LayerInverses {
            input: on_device(&span.function(|v| 1.0 / (v + shifts[0])), &self.input),
            error: damped_inverse(&self.path, error, shifts[1], &self.error)?,
        })
    }
}

/// The factors of every layer of a recorded batch that has a Kronecker form: linear layers, the
/// factors of LoRA adapters, convolutions without groups (in recordings
/// [with factored rows](crate::Tape::with_factored_rows)), output heads tied to an embedding that
/// is not looked up.
///
/// # Errors
///
/// [`Error::NoOutput`] and [`Error::NonFinite`] for [`FactorLabels::Improved`];
/// [`Error::NoSampledLabels`] for [`FactorLabels::Sampled`] in a recording without drawn labels.
pub fn layer_factors(
    recorded: &RecordedBatch,
    estimate: FactorLabels,
    sharing: WeightSharing,
) -> Result<Vec<LayerFactors>, Error> {
    let weights = RowWeights::new(recorded, estimate)?;
    let jacobian = recorded.all_rows();
    let part = weights.part(recorded);
    let layers = part.blocks.iter().filter_map(|block| {
        let uses = Uses::of(block)?;
        let param = jacobian.params().iter().find(|p| p.id == block.parameter)?;
        let rows = uses.inputs(&weights, sharing);
        let error = uses.error_factor(&weights, sharing);
        Some(LayerFactors {
            weight: block.parameter,
            bias: block.bias,
            path: param.path.clone(),
            input: second_moment(rows.clone()),
            error,
            rows,
        })
    });
    Ok(layers.collect())
}

/// Which rows of a recording the errors come from, and what they are multiplied with.
pub(super) struct RowWeights {
    /// Samples M.
    samples: usize,
    /// First row, and their number.
    rows: (usize, usize),
    /// One factor for each of these rows, loss scale included.
    values: Vec<f64>,
}

impl RowWeights {
    pub fn new(recorded: &RecordedBatch, estimate: FactorLabels) -> Result<Self, Error> {
        let samples = recorded.samples();
        let scale = recorded.all_rows().parts[0].scale;
        let (rows, values) = match estimate {
            FactorLabels::Empirical => ((0, samples), vec![scale; samples]),
            FactorLabels::Improved => {
                let norms = recorded.output_norms()?;
                let root = |s: f64| if s > 0.0 { scale / s.sqrt() } else { 0.0 };
                ((0, samples), norms.into_iter().map(root).collect())
            }
            FactorLabels::Sampled => {
                let copies = recorded.labels().ok_or(Error::NoSampledLabels)?.copies();
                let count = samples * copies;
                ((samples, count), vec![scale; count])
            }
        };
        Ok(Self {
            samples,
            rows,
            values,
        })
    }

    fn part<'a>(&self, recorded: &'a RecordedBatch) -> &'a Part {
        // A recording is one part.
        &recorded.all_rows().parts[0]
    }

    /// Mean squares of the rows of a block, for its parameter and its bias.
    pub fn squares(&self, block: &Block) -> Vec<(ParamId, Tensor<1>)> {
        let mut direction = crate::params::Direction::default();
        let squared = Block {
            uses: block
                .uses
                .iter()
                .map(|rows| self.cut(rows).squared())
                .collect(),
            ..*block
        };
        let Some(place) = squared.uses.first().map(Rows::place) else {
            return Vec::new();
        };
        let means = self.values.iter().map(|w| w * w / self.samples as f64);
        let data = TensorData::new(means.collect::<Vec<f64>>(), [self.rows.1]);
        squared.add_t_matvec(Tensor::from_data(data, (&place.0, place.1)), &mut direction);
        let ids = std::iter::once(block.parameter).chain(block.bias);
        ids.filter_map(|id| Some((id, direction.get(id)?)))
            .collect()
    }

    fn cut(&self, rows: &Rows) -> Rows {
        rows.narrow(self.rows.0, self.rows.1)
    }

    /// `[rows, T, o]`, weighted.
    fn errors(&self, errors: Tensor<3>) -> Tensor<3> {
        let errors = errors.narrow(0, self.rows.0, self.rows.1);
        let data = TensorData::new(self.values.clone(), [self.rows.1, 1, 1]);
        let weights = Tensor::from_data(data, (&errors.device(), errors.dtype()));
        errors * weights
    }
}

/// The uses of a layer whose inputs and output errors are all known.
pub(super) struct Uses<'a> {
    uses: Vec<&'a Outer>,
    pub input_side: Side,
    pub bias: bool,
}

impl<'a> Uses<'a> {
    pub fn of(block: &'a Block) -> Option<Self> {
        let uses: Option<Vec<&Outer>> = block
            .uses
            .iter()
            .map(|rows| match rows {
                Rows::Outer(outer) => Some(outer),
                _ => None,
            })
            .collect();
        let uses = uses?;
        let input_side = uses.first()?.input_side();
        let agree = uses.iter().all(|outer| outer.input_side() == input_side);
        agree.then_some(Self {
            uses,
            input_side,
            bias: block.bias.is_some(),
        })
    }

    /// A and B.
    pub fn factors(&self, weights: &RowWeights, sharing: WeightSharing) -> [Tensor<2>; 2] {
        let input = second_moment(self.inputs(weights, sharing));
        [input, self.error_factor(weights, sharing)]
    }

    /// The inputs, scaled so that their product with themselves is A.
    fn inputs(&self, weights: &RowWeights, sharing: WeightSharing) -> Tensor<2> {
        let inputs = self.uses.iter().map(|outer| {
            let inputs = outer.factor(self.input_side);
            inputs.narrow(0, 0, weights.samples)
        });
        let positions = inputs.clone().map(|x| x.dims()[1]).sum::<usize>().max(1) as f64;
        let samples = weights.samples as f64;
        match sharing {
            WeightSharing::Expand => {
                let rows = Tensor::cat(inputs.map(by_position).collect(), 0);
                self.homogeneous(rows) / (samples * positions).sqrt()
            }
            WeightSharing::Reduce => {
                let mean = sum(inputs.map(total)) / positions;
                self.homogeneous(mean) / samples.sqrt()
            }
        }
    }

    /// B.
    fn error_factor(&self, weights: &RowWeights, sharing: WeightSharing) -> Tensor<2> {
        let errors = self.uses.iter().map(|outer| {
            let errors = outer.factor(self.input_side.other());
            weights.errors(errors)
        });
        let product = match sharing {
            WeightSharing::Expand => sum(errors.map(|e| second_moment(by_position(e)))),
            WeightSharing::Reduce => second_moment(sum(errors.map(total))),
        };
        product / weights.samples as f64
    }

    /// The mean gradient of the first `samples` rows, for a layer of these sizes. `None` where products
    /// with the gradient itself are cheaper.
    pub fn gradient_rows(
        &self,
        samples: usize,
        scale: f64,
        sizes: [usize; 2],
    ) -> Option<GradientRows> {
        let joined = |side| {
            let factors = self.uses.iter().map(|outer| outer.factor(side));
            let factors = factors.map(|x| by_position(x.narrow(0, 0, samples)));
            Tensor::cat(factors.collect(), 0)
        };
        let inputs = self.homogeneous(joined(self.input_side));
        let errors = joined(self.input_side.other());
        if [inputs.dims()[1], errors.dims()[1]] != sizes {
            return None;
        }
        Some(GradientRows::new(inputs, errors)?.scaled(scale / samples as f64))
    }

    /// With the constant input of a bias as the last column.
    fn homogeneous(&self, inputs: Tensor<2>) -> Tensor<2> {
        if !self.bias {
            return inputs;
        }
        let [rows, _] = inputs.dims();
        let ones = Tensor::ones([rows, 1], (&inputs.device(), inputs.dtype()));
        Tensor::cat(vec![inputs, ones], 1)
    }
}

fn by_position(x: Tensor<3>) -> Tensor<2> {
    let [m, t, width] = x.dims();
    x.reshape([m * t, width])
}

/// The positions of a sample summed.
fn total(x: Tensor<3>) -> Tensor<2> {
    x.sum_dim(1).squeeze_dim(1)
}

/// `XᵀX`.
fn second_moment(x: Tensor<2>) -> Tensor<2> {
    matmul(x.clone().transpose(), x)
}

fn sum(terms: impl Iterator<Item = Tensor<2>>) -> Tensor<2> {
    terms
        .reduce(|a, b| a + b)
        .expect("a block has at least one use")
}
