//! From per-sample gradients to a pruned model.

use burn::module::{Module, ParamGroup};
use burn::tensor::{Gradients, Tensor, TensorData};

use super::blocks::InverseBlocks;
use super::parameters::{read, rewrite};
use super::select::{Candidates, select};
use super::{Curvature, Selection, SparsityMask, WoodFisherConfig};
use crate::error::Error;
use crate::jacobian::{Jacobian, RecordedBatch};
use crate::params::ParamInfo;
use crate::record::Tape;
use crate::update::Amount;

/// Most entries of the dense rows of a parameter that are held at once (64 MiB).
const ENTRIES: usize = 1 << 23;

/// The block-diagonal inverse Fisher matrix of a model's weights, and pruning by it.
///
/// Weights that `mask` has pruned already take no part: as if they were not there. See the
/// [module](super) for recorded batches; a model that records nothing runs sample by sample:
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::woodfisher::{SparsityMask, WoodFisher, WoodFisherConfig};
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 1).init(&device);
/// let x = Tensor::<2>::random([8, 3], Distribution::Default, &device);
/// // Least squares towards zero: s_n = z_n².
/// let rows = Jacobian::by_sample(&model, 8, |model, n| {
///     model.forward(x.clone().narrow(0, n, 1)).square().sum() * 0.5
/// })?;
/// let s = model.forward(x).square().inner().into_data().try_to_vec::<f32>().unwrap();
/// let s: Vec<f64> = s.into_iter().map(f64::from).collect();
///
/// let dense = SparsityMask::weights(&model)?;
/// let mut fisher = WoodFisher::new(&WoodFisherConfig::new(8), &model, &dense)?;
/// assert_eq!(fisher.add_rows(&rows, &s)?, 8);
/// assert_eq!(fisher.saliencies(&model)?[0].len(), 3);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WoodFisher {
    config: WoodFisherConfig,
    mask: SparsityMask,
    params: Vec<Target>,
    /// λ and the inverses, from the first batch on.
    inverse: Option<(f64, Vec<InverseBlocks>)>,
    seen: usize,
}

/// A parameter that is pruned.
#[derive(Debug, Clone)]
struct Target {
    param: ParamInfo,
    /// In the order of the blocks.
    pruned: Vec<bool>,
}

/// The weights of a module, row-major, and what removing them costs.
struct Costs {
    params: Vec<ParamInfo>,
    weights: Vec<Vec<f64>>,
    saliency: Vec<Vec<f64>>,
}

/// A pruned model.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::woodfisher::{Pruned, Scope, SparsityMask, magnitude};
///
/// let model = LinearConfig::new(4, 5).init(&Device::flex().autodiff());
/// let dense = SparsityMask::weights(&model)?;
/// let Pruned { model, mask, .. } = magnitude(model, &dense, 0.5, Scope::Global)?;
/// assert_eq!(model.weight.val().equal_elem(0.0).int().sum().into_scalar::<i64>(), 10);
/// assert_eq!(mask.pruned(), 10);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pruned<M> {
    /// The model, its pruned weights zero.
    pub model: M,
    /// Which weights are pruned.
    pub mask: SparsityMask,
    /// Sum of the saliencies that the weights removed now were chosen by, in units of the mean loss.
    /// With sequential selection and joint compensation the quadratic model's mean loss rises by no
    /// more. For magnitude, half the sum of their squares.
    pub cost: f64,
}

impl WoodFisher {
    /// Without gradients yet, for the parameters that `mask` covers.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming a field that is out of range, [`Error::ForeignMask`] if the mask is
    /// not one of this module.
    pub fn new<M: Module>(
        config: &WoodFisherConfig,
        module: &M,
        mask: &SparsityMask,
    ) -> Result<Self, Error> {
        config.validate()?;
        let params = mask.locate(module)?.into_iter().zip(mask.to_host());
        let params = params.map(|(param, pruned)| Target {
            pruned: config.order.arrange(pruned, &param.shape),
            param,
        });
        Ok(Self {
            params: params.collect(),
            config: config.clone(),
            mask: mask.clone(),
            inverse: None,
            seen: 0,
        })
    }

    /// Take in the gradients of a recorded batch; see [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As [`RecordedBatch::collect`] and [`add`](Self::add).
    pub fn record<M: Module>(
        &mut self,
        tape: Tape,
        grads: Gradients,
        module: &M,
    ) -> Result<usize, Error> {
        let ids = self.params.iter().map(|target| target.param.id).collect();
        let group = ParamGroup::from_ids(ids);
        self.add(&RecordedBatch::collect(tape, grads, module, Some(&group))?)
    }

    /// Take in the gradients of a recorded batch, as many as are missing to N; returns how many.
    ///
    /// # Errors
    ///
    /// As [`add_rows`](Self::add_rows); [`Error::NoOutput`] for iEF if no output was marked.
    pub fn add(&mut self, recorded: &RecordedBatch) -> Result<usize, Error> {
        let weights = match self.config.curvature {
            Curvature::Empirical => vec![1.0; recorded.samples()],
            Curvature::Improved => recorded.output_norms()?,
        };
        self.add_rows(&recorded.jacobian(), &weights)
    }

    /// Take in rows of a Jacobian, as many as are missing to N: `∇l_n ∇l_nᵀ / s_n` each; returns
    /// how many.
    ///
    /// `s` holds s_n for iEF and ones for EF, `[M]`; a sample with s_n = 0 counts with a zero
    /// gradient. For models that record nothing, with [`Jacobian::by_sample`].
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if `s` does not have an entry per row; [`Error::NonFinite`] naming samples
    /// whose gradient or s_n is NaN, infinite or negative; [`Error::NoRows`] if a parameter to be
    /// pruned has no columns; [`Error::Config`] for a relative damping if all gradients of the first
    /// batch are zero; [`Error::Eigen`] if the damping is below the precision of f64: the matrix then
    /// starts anew. After any other error it is as it was.
    pub fn add_rows(&mut self, jacobian: &Jacobian, s: &[f64]) -> Result<usize, Error> {
        if s.len() != jacobian.samples() {
            return Err(Error::Size {
                what: "weights of per-sample gradients",
                expected: jacobian.samples(),
                found: s.len(),
            });
        }
        let count = s.len().min(self.config.gradients - self.seen);
        if count == 0 {
            return Ok(0);
        }
        let rows = jacobian.narrow(0, count)?;
        let scales = scales(&rows, &s[..count])?;
        self.check_columns(&rows)?;
        let lambda = self.damping(&rows, &scales)?;
        let size = self.config.block_size;
        let (_, blocks) = self.inverse.get_or_insert_with(|| {
            let widths = self.params.iter().map(|target| target.pruned.len());
            let blocks = widths.map(|width| InverseBlocks::new(width, size, lambda));
            (lambda, blocks.collect())
        });
        let samples = self.config.gradients as f64;
        let order = self.config.order;
        let mut parts = self.params.iter().zip(blocks);
        let taken = parts.try_for_each(|(target, blocks)| {
            target.for_pieces(&rows, &scales, order, |piece| {
                blocks.update(piece, target.pruned.len(), samples)
            })
        });
        if let Err(error) = taken {
            // Some blocks have the rows and others do not.
            (self.inverse, self.seen) = (None, 0);
            return Err(error);
        }
        self.seen += count;
        Ok(count)
    }

    /// Gradients taken in.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Gradients still missing to N.
    pub fn missing(&self) -> usize {
        self.config.gradients - self.seen
    }

    /// λ, in mean form; `None` before the first batch.
    pub fn damping_used(&self) -> Option<f64> {
        self.inverse.as_ref().map(|(lambda, _)| *lambda)
    }

    /// The diagonal of F⁻¹, flattened (row-major), one for each covered parameter in the mask's
    /// order.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if fewer than N gradients were taken in.
    pub fn inverse_diagonal(&self) -> Result<Vec<Vec<f64>>, Error> {
        let blocks = self.params.iter().zip(self.blocks()?);
        let diagonals = blocks.map(|(target, blocks)| {
            let shape = &target.param.shape;
            self.config.order.restore(blocks.diagonal(), shape)
        });
        Ok(diagonals.collect())
    }

    /// ρ_q of the weights of a module, flattened (row-major), one for each covered parameter in the
    /// mask's order.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if fewer than N gradients were taken in, [`Error::ForeignMask`] if the mask is
    /// not one of this module.
    pub fn saliencies<M: Module>(&self, module: &M) -> Result<Vec<Vec<f64>>, Error> {
        let params = self.mask.locate(module)?;
        let weights = read(module, &params).into_iter();
        let parts = weights.zip(self.inverse_diagonal()?);
        let saliencies = parts.map(|(weights, diagonal)| {
            let pairs = weights.iter().zip(diagonal);
            pairs.map(|(w, inverse)| w * w / (2.0 * inverse)).collect()
        });
        Ok(saliencies.collect())
    }

    /// Prune to a sparsity of the covered weights, least salient first, and move the others as the
    /// [`Compensation`](super::Compensation) says.
    ///
    /// What was pruned already stays pruned, and counts.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a sparsity outside 0 to 1; as [`saliencies`](Self::saliencies);
    /// [`Error::Curvature`] if a weight or a saliency is NaN or infinite; [`Error::Eigen`] if the
    /// damping is below the precision of f64.
    pub fn prune<M: Module>(&self, module: M, sparsity: f64) -> Result<Pruned<M>, Error> {
        let costs = self.costs(&module)?;
        self.prune_by(&costs, module, sparsity)
    }

    /// Prune a module to each of several sparsities, each time from what it is now; the costs of the
    /// removals are found once.
    ///
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::{Device, Distribution, Tensor};
    /// use burn_ief::jacobian::Jacobian;
    /// use burn_ief::woodfisher::{SparsityMask, WoodFisher, WoodFisherConfig};
    ///
    /// let device = Device::flex().autodiff();
    /// let model = LinearConfig::new(8, 1).init(&device);
    /// let x = Tensor::<2>::random([16, 8], Distribution::Default, &device);
    /// let rows = Jacobian::by_sample(&model, 16, |model, n| {
    ///     model.forward(x.clone().narrow(0, n, 1)).square().sum() * 0.5
    /// })?;
    /// let dense = SparsityMask::weights(&model)?;
    /// let mut fisher = WoodFisher::new(&WoodFisherConfig::new(16), &model, &dense)?;
    /// fisher.add_rows(&rows, &[1.0; 16])?;
    /// let pruned = fisher.prune_each(&model, &[0.25, 0.5])?;
    /// assert_eq!((pruned[0].mask.pruned(), pruned[1].mask.pruned()), (2, 4));
    /// # Ok::<(), burn_ief::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`prune`](Self::prune).
    pub fn prune_each<M: Module>(
        &self,
        module: &M,
        sparsities: &[f64],
    ) -> Result<Vec<Pruned<M>>, Error> {
        let costs = self.costs(module)?;
        let each = sparsities.iter();
        each.map(|&sparsity| self.prune_by(&costs, module.clone(), sparsity))
            .collect()
    }

    fn costs<M: Module>(&self, module: &M) -> Result<Costs, Error> {
        let params = self.mask.locate(module)?;
        let weights = read(module, &params);
        let saliency = match self.config.selection {
            Selection::Independent => self.saliencies(module)?,
            Selection::Sequential => self.eliminations(&weights)?,
        };
        Ok(Costs {
            params,
            weights,
            saliency,
        })
    }

    /// `costs` are those of this module.
    fn prune_by<M: Module>(
        &self,
        costs: &Costs,
        module: M,
        sparsity: f64,
    ) -> Result<Pruned<M>, Error> {
        let Costs {
            params,
            weights,
            saliency,
        } = costs;
        let before = self.mask.to_host();
        let parts = params.iter().zip(saliency).zip(&before);
        let candidates: Vec<Candidates<'_>> = parts
            .map(|((param, saliency), pruned)| Candidates {
                path: &param.path,
                saliency,
                pruned,
            })
            .collect();
        let after = select(&candidates, sparsity, self.config.scope)?;
        let left = self.left(weights.clone(), &after)?;
        let model = rewrite(module, params, |k, value| {
            let size = left[k].len();
            let data = TensorData::new(left[k].clone(), [size]);
            Tensor::from_data(data, (&value.device(), value.dtype()))
        });
        let cost = removed_cost(saliency, &before, &after);
        let mask = self.mask.with_pruned(after);
        // A compensation can round to anything but a pruned weight is zero.
        Ok(Pruned {
            model: mask.apply(model)?,
            mask,
            cost,
        })
    }

    /// What each removal costs, one after another; row-major.
    fn eliminations(&self, weights: &[Vec<f64>]) -> Result<Vec<Vec<f64>>, Error> {
        let order = self.config.order;
        let parts = self.params.iter().zip(self.blocks()?).zip(weights);
        let costs = parts.map(|((target, blocks), weights)| {
            let shape = &target.param.shape;
            let weights = order.arrange(weights.clone(), shape);
            order.restore(blocks.elimination(&weights, &target.pruned), shape)
        });
        Ok(costs.collect())
    }

    /// The weights after pruning, row-major.
    fn left(&self, weights: Vec<Vec<f64>>, after: &[Vec<bool>]) -> Result<Vec<Vec<f64>>, Error> {
        let order = self.config.order;
        let parts = self.params.iter().zip(self.blocks()?);
        let parts = parts.zip(weights).zip(after);
        let left = parts.map(|(((target, blocks), weights), after)| {
            let shape = &target.param.shape;
            let weights = order.arrange(weights, shape);
            let chosen = order.arrange(after.clone(), shape);
            let left = blocks.remove(&weights, &chosen, self.config.compensation)?;
            if left.iter().any(|weight| !weight.is_finite()) {
                return Err(Error::Curvature {
                    what: "compensated weights",
                    parameter: target.param.path.clone(),
                });
            }
            Ok(order.restore(left, shape))
        });
        left.collect()
    }

    fn blocks(&self) -> Result<&[InverseBlocks], Error> {
        match &self.inverse {
            Some((_, blocks)) if self.missing() == 0 => Ok(blocks),
            _ => Err(Error::Size {
                what: "gradients in the Fisher matrix",
                expected: self.config.gradients,
                found: self.seen,
            }),
        }
    }

    fn check_columns(&self, rows: &Jacobian) -> Result<(), Error> {
        for Target { param, .. } in &self.params {
            let column = rows.params().iter().find(|column| column.id == param.id);
            match column {
                Some(column) if column.shape == param.shape => {}
                Some(column) => {
                    return Err(Error::RowShape {
                        parameter: param.path.clone(),
                        expected: format!("{:?}", param.shape.as_slice()),
                        found: format!("{:?}", column.shape.as_slice()),
                    });
                }
                None => {
                    return Err(Error::NoRows {
                        parameter: param.path.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// λ.
    fn damping(&self, rows: &Jacobian, scales: &[f64]) -> Result<f64, Error> {
        if let Some((lambda, _)) = self.inverse {
            return Ok(lambda);
        }
        let fraction = match self.config.damping {
            Amount::Absolute(lambda) => return Ok(lambda),
            Amount::Relative(fraction) => fraction,
        };
        let (mut squares, mut weights) = (0.0, 0);
        for target in &self.params {
            weights += target.pruned.iter().filter(|&&pruned| !pruned).count();
            target.for_pieces(rows, scales, self.config.order, |piece| {
                squares += piece.iter().map(|x| x * x).sum::<f64>();
                Ok(())
            })?;
        }
        let lambda = fraction * squares / (scales.len() * weights.max(1)) as f64;
        match lambda.is_normal() {
            true => Ok(lambda),
            false => Err(Error::Config {
                field: "damping",
                value: format!("{fraction} of the mean diagonal {}", lambda / fraction),
                expected: "an absolute damping where all gradients are zero",
            }),
        }
    }
}

impl Target {
    /// Rows `∇l_n/√s_n` in the order of the blocks, in pieces `[m, width]` of bounded size; zero at
    /// the weights that are pruned.
    fn for_pieces(
        &self,
        rows: &Jacobian,
        scales: &[f64],
        order: super::Order,
        mut f: impl FnMut(&[f64]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let width = self.pruned.len();
        let step = (ENTRIES / width.max(1)).max(1);
        for start in (0..rows.samples()).step_by(step) {
            let count = step.min(rows.samples() - start);
            let piece = rows.narrow(start, count)?.rows_of(&self.param);
            let lines = piece.into_iter().zip(&scales[start..]);
            let mut piece = Vec::with_capacity(count * width);
            for (line, scale) in lines {
                let line = order.arrange(line, &self.param.shape);
                let entries = line.iter().zip(&self.pruned);
                piece.extend(entries.map(|(x, &pruned)| if pruned { 0.0 } else { x * scale }));
            }
            f(&piece)?;
        }
        Ok(())
    }
}

/// 1/√s_n; zero for a sample that is left out.
fn scales(rows: &Jacobian, s: &[f64]) -> Result<Vec<f64>, Error> {
    let norms = rows.row_norms();
    let bad = |n: &usize| !norms[*n].is_finite() || !s[*n].is_finite() || s[*n] < 0.0;
    let samples: Vec<usize> = (0..s.len()).filter(bad).collect();
    if !samples.is_empty() {
        return Err(Error::NonFinite {
            what: "per-sample gradients",
            samples,
        });
    }
    let scale = |&s: &f64| if s > 0.0 { 1.0 / s.sqrt() } else { 0.0 };
    Ok(s.iter().map(scale).collect())
}

/// Sum of the saliencies of the weights that were not pruned before.
pub(super) fn removed_cost(
    saliency: &[Vec<f64>],
    before: &[Vec<bool>],
    after: &[Vec<bool>],
) -> f64 {
    let flags = before.iter().flatten().zip(after.iter().flatten());
    let entries = saliency.iter().flatten().zip(flags);
    let removed = entries.filter(|(_, (before, after))| **after && !**before);
    removed.map(|(saliency, _)| saliency).sum()
}
