//! The inverse Fisher matrix, built from per-sample gradients.

use burn::module::{Module, ParamGroup};
use burn::tensor::Gradients;

use super::blocks::InverseBlocks;
use super::config::{PruneCurvature, WoodFisherConfig};
use super::target::Target;
use crate::error::Error;
use crate::jacobian::{Jacobian, RecordedBatch};
use crate::prune::mask::SparsityMask;
use crate::record::Tape;
use crate::solve::DampingAmount;

/// Pruning by a block-diagonal inverse Fisher matrix of a model's weights (WoodFisher).
///
/// WoodFisher (Singh and Alistarh, "WoodFisher: Efficient Second-Order Approximation for Neural
/// Network Compression", NeurIPS 2020, [arXiv 2004.14340](https://arxiv.org/abs/2004.14340))
/// removes the weights whose removal costs least in the quadratic model of the loss at an optimum.
/// With the Fisher matrix F as the curvature, removing weight q costs
///
/// `ρ_q = w_q² / (2 [F⁻¹]_qq)`, and then `δw = −w_q F⁻¹e_q / [F⁻¹]_qq`
///
/// is the best change of all other weights. F is either the empirical Fisher matrix (EF) or the
/// improved one (iEF) of Wu, Yu, Zhang and Woodland,
/// [arXiv 2406.06420](https://arxiv.org/abs/2406.06420) (eq. 45), from N per-sample gradients:
///
/// `F = λI + (1/N) Σ_n ∇l_n ∇l_nᵀ` (EF), `F = λI + (1/N) Σ_n ∇l_n ∇l_nᵀ / s_n` (iEF),
///
/// where l_n is the loss of sample n and s_n the squared norm of its gradient at the outputs. At an
/// optimum most samples are fitted and have small gradients, so a few other samples dominate EF. In
/// iEF every sample counts.
///
/// Weights that the mask has pruned already are left out of the matrix.
///
/// # How it is computed
///
/// F is stored and inverted in blocks of B weights that are neighbours in a parameter, see
/// [`BlockOrder`](super::BlockOrder); entries outside the blocks are taken as zero. The inverse of
/// each block is built directly, by Woodbury's identity for a batch of rows R = `∇l_n/√s_n`:
/// `F⁻¹ ← F⁻¹ − F⁻¹Rᵀ (N·I + R F⁻¹Rᵀ)⁻¹ R F⁻¹`, on the host in f64.
///
/// Memory: 8·B bytes per weight (512 at the default B = 64, so that a model of a million weights
/// takes 0.5 GB), and for a batch the dense rows of one parameter at a time, in pieces of at most
/// 64 MiB. Time: about 3·B multiplications per weight and gradient, and B²/3 per weight for
/// [`Selection::Sequential`](super::Selection::Sequential).
///
/// # Example
///
/// The [module](crate::prune) has an example with recorded batches. A model that records nothing
/// runs sample by sample:
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::prune::{SparsityMask, WoodFisherConfig};
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 1).init(&device);
/// let x = Tensor::<2>::random([8, 3], Distribution::Default, &device);
/// // Least squares with targets of zero: s_n = z_n².
/// let rows = Jacobian::by_sample(&model, 8, |model, n| {
///     model.forward(x.clone().narrow(0, n, 1)).square().sum() * 0.5
/// })?;
/// let s = model.forward(x).square().inner().into_data().try_to_vec::<f32>().unwrap();
/// let s: Vec<f64> = s.into_iter().map(f64::from).collect();
///
/// let dense = SparsityMask::weights(&model)?;
/// let mut fisher = WoodFisherConfig::new(8).init(&model, &dense);
/// assert_eq!(fisher.add_rows(&rows, &s)?, 8);
/// assert_eq!(fisher.saliencies(&model)?[0].len(), 3);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WoodFisher {
    pub(super) config: WoodFisherConfig,
    pub(super) mask: SparsityMask,
    /// The parameters that the mask covers, in its order.
    pub(super) targets: Vec<Target>,
    /// `None` before the first batch.
    inverse: Option<Inverse>,
    seen: usize,
}

#[derive(Debug, Clone)]
struct Inverse {
    /// λ.
    damping: f64,
    /// The blocks of each target.
    blocks: Vec<InverseBlocks>,
}

impl WoodFisherConfig {
    /// A Fisher matrix without gradients yet, for the parameters of `module` that `mask` covers.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] naming the first field that is out of range.
    /// - [`PruneError::ForeignMask`](crate::error::PruneError::ForeignMask) if the mask was made for another module.
    pub fn try_init<M: Module>(
        &self,
        module: &M,
        mask: &SparsityMask,
    ) -> Result<WoodFisher, Error> {
        self.validate()?;
        let mut targets = Vec::new();
        for (param, pruned) in mask.locate(module)?.into_iter().zip(mask.to_host()) {
            targets.push(Target {
                pruned: self.order.arrange(pruned, &param.shape),
                order: self.order,
                param,
            });
        }
        Ok(WoodFisher {
            config: self.clone(),
            mask: mask.clone(),
            targets,
            inverse: None,
            seen: 0,
        })
    }

    /// A Fisher matrix without gradients yet, for the parameters of `module` that `mask` covers.
    ///
    /// # Panics
    ///
    /// Panics if a field is out of range or the mask was made for another module;
    /// [`try_init`](Self::try_init) returns an error instead.
    pub fn init<M: Module>(&self, module: &M, mask: &SparsityMask) -> WoodFisher {
        self.try_init(module, mask)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

impl WoodFisher {
    /// Add the gradients of a recorded batch, see [`add`](Self::add); returns how many were added.
    ///
    /// `grads` are the gradients of the batch's loss, recorded by `tape`.
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
        let ids = self.targets.iter().map(|target| target.param.id).collect();
        let group = ParamGroup::from_ids(ids);
        self.add(&RecordedBatch::collect(tape, grads, module, Some(&group))?)
    }

    /// Add the gradients of a recorded batch, until the matrix has N of them; returns how many were
    /// added.
    ///
    /// # Errors
    ///
    /// As [`add_rows`](Self::add_rows); [`Error::NoOutput`] for iEF if no output was marked.
    pub fn add(&mut self, recorded: &RecordedBatch) -> Result<usize, Error> {
        let weights = match self.config.curvature {
            PruneCurvature::Empirical => vec![1.0; recorded.samples()],
            PruneCurvature::Improved => recorded.output_norms()?,
        };
        self.add_rows(&recorded.jacobian(), &weights)
    }

    /// Add `∇l_n ∇l_nᵀ / s_n` for the rows of a Jacobian, until the matrix has N of them; returns how
    /// many were added.
    ///
    /// `s`, one entry per row, holds s_n for iEF and ones for EF. A sample with s_n = 0 counts as one
    /// of N and adds nothing. Use this with [`Jacobian::by_sample`] for models that record nothing.
    ///
    /// # Errors
    ///
    /// - [`Error::Size`] if `s` does not have one entry per row.
    /// - [`Error::NonFinite`] naming the samples whose gradient is NaN or infinite, or whose s_n is
    ///   NaN, infinite or negative.
    /// - [`PruneError::NoRows`](crate::error::PruneError::NoRows) if the Jacobian has no columns for a parameter to be pruned,
    ///   [`Error::RowShape`] if they have another shape.
    /// - [`Error::Config`] for a relative damping if all gradients of the first batch are zero.
    /// - [`Error::NotPositiveDefinite`] if the damping is below the precision of f64. The matrix then
    ///   starts again without gradients; after any other error it is unchanged.
    pub fn add_rows(&mut self, jacobian: &Jacobian, s: &[f64]) -> Result<usize, Error> {
        if s.len() != jacobian.samples() {
            return Err(Error::Size {
                what: "weights of per-sample gradients",
                expected: jacobian.samples(),
                found: s.len(),
            });
        }
        let count = s.len().min(self.missing());
        if count == 0 {
            return Ok(0);
        }
        let rows = jacobian.narrow(0, count)?;
        let scales = scales(&rows, &s[..count])?;
        for target in &self.targets {
            target.check_columns(&rows)?;
        }
        // Taken out while it changes: after an error some blocks have the rows and others do not.
        let mut inverse = match self.inverse.take() {
            Some(inverse) => inverse,
            None => self.empty(self.damping(&rows, &scales)?),
        };
        let seen = std::mem::take(&mut self.seen);
        let samples = self.config.gradients as f64;
        for (target, blocks) in self.targets.iter().zip(&mut inverse.blocks) {
            target.for_pieces(&rows, &scales, |piece| {
                blocks.add_rows(piece, target.width(), samples)
            })?;
        }
        self.inverse = Some(inverse);
        self.seen = seen + count;
        Ok(count)
    }

    /// Number of gradients in the matrix.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Number of gradients that the matrix still needs.
    pub fn missing(&self) -> usize {
        self.config.gradients - self.seen
    }

    /// λ in mean form; `None` before the first batch.
    pub fn damping_used(&self) -> Option<f64> {
        self.inverse.as_ref().map(|inverse| inverse.damping)
    }

    /// The blocks of each target.
    ///
    /// # Errors
    ///
    /// [`Error::Size`] if gradients are missing.
    pub(super) fn blocks(&self) -> Result<&[InverseBlocks], Error> {
        match &self.inverse {
            Some(inverse) if self.missing() == 0 => Ok(&inverse.blocks),
            _ => Err(Error::Size {
                what: "gradients in the Fisher matrix",
                expected: self.config.gradients,
                found: self.seen,
            }),
        }
    }

    /// The inverse without gradients, I/λ.
    fn empty(&self, damping: f64) -> Inverse {
        let mut blocks = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            let size = self.config.block_size;
            blocks.push(InverseBlocks::new(target.width(), size, damping));
        }
        Inverse { damping, blocks }
    }

    /// λ, from the first batch if it is relative.
    fn damping(&self, rows: &Jacobian, scales: &[f64]) -> Result<f64, Error> {
        let fraction = match self.config.damping {
            DampingAmount::Absolute(lambda) => return Ok(lambda),
            DampingAmount::Relative(fraction) => fraction,
        };
        let (mut squares, mut weights) = (0.0, 0);
        for target in &self.targets {
            weights += target.pruned.iter().filter(|&&pruned| !pruned).count();
            target.for_pieces(rows, scales, |piece| {
                squares += piece.iter().map(|x| x * x).sum::<f64>();
                Ok(())
            })?;
        }
        let lambda = fraction * squares / (scales.len() * weights.max(1)) as f64;
        if lambda.is_normal() {
            Ok(lambda)
        } else {
            let found = format!("{fraction} of the mean diagonal {}", lambda / fraction);
            let expected = "an absolute damping, because the gradients of the first batch are zero";
            Err(Error::config("damping", found, expected))
        }
    }
}

/// 1/√s_n; zero for a sample with s_n = 0.
///
/// # Errors
///
/// [`Error::NonFinite`].
fn scales(rows: &Jacobian, s: &[f64]) -> Result<Vec<f64>, Error> {
    let refuse_bad = |what, bad: &dyn Fn(usize) -> bool| {
        let samples: Vec<usize> = (0..s.len()).filter(|&n| bad(n)).collect();
        if samples.is_empty() {
            Ok(())
        } else {
            Err(Error::NonFinite { what, samples })
        }
    };
    let norms = rows.row_norms();
    refuse_bad("per-sample gradients", &|n| !norms[n].is_finite())?;
    refuse_bad("square roots of s", &|n| !s[n].sqrt().is_finite())?;
    let mut scales = Vec::with_capacity(s.len());
    for &s in s {
        scales.push(if s > 0.0 { 1.0 / s.sqrt() } else { 0.0 });
    }
    Ok(scales)
}
