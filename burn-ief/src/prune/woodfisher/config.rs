//! Configuration of WoodFisher.

use burn::config::Config;

use super::order::BlockOrder;
use crate::error::Error;
use crate::prune::select::PruneScope;
use crate::solve::DampingAmount;

/// Which Fisher matrix approximates the curvature of the loss.
///
/// ```
/// use burn_ief::prune::{PruneCurvature, WoodFisherConfig};
///
/// assert_eq!(WoodFisherConfig::new(400).curvature, PruneCurvature::Improved);
/// let published = WoodFisherConfig::new(400).with_curvature(PruneCurvature::Empirical);
/// assert_eq!(published.curvature, PruneCurvature::Empirical);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PruneCurvature {
    /// The empirical Fisher matrix (EF), `(1/N) Σ_n ∇l_n ∇l_nᵀ`, as in the WoodFisher paper.
    Empirical,
    /// The improved empirical Fisher matrix (iEF), `(1/N) Σ_n ∇l_n ∇l_nᵀ / s_n`, where s_n is the
    /// squared norm of the gradient of l_n at the outputs. The model must mark its outputs.
    #[default]
    Improved,
}

/// Whether removing one weight changes the saliency of the others in its block.
///
/// ```
/// use burn_ief::prune::{Selection, WoodFisherConfig};
///
/// assert_eq!(WoodFisherConfig::new(400).selection, Selection::Sequential);
/// let published = WoodFisherConfig::new(400).with_selection(Selection::Independent);
/// assert_eq!(published.selection, Selection::Independent);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Selection {
    /// It does not, as in the WoodFisher paper: each saliency is the cost of removing that weight
    /// alone. Redundant weights all look cheap and are all removed.
    Independent,
    /// It does, as in the optimal brain surgeon: the weights of a block are removed one after
    /// another, cheapest first, and after each removal the saliencies of the rest are computed
    /// again. This takes B²/3 more multiplications per weight.
    #[default]
    Sequential,
}

/// How the weights that stay are changed to make up for the weights that are removed.
///
/// ```
/// use burn_ief::prune::{Compensation, WoodFisherConfig};
///
/// assert_eq!(WoodFisherConfig::new(400).compensation, Compensation::Joint);
/// let mask_only = WoodFisherConfig::new(400).with_compensation(Compensation::None);
/// assert_eq!(mask_only.compensation, Compensation::None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Compensation {
    /// They keep their values.
    None,
    /// Compute the best change for each removed weight separately and add the changes up, as in the
    /// WoodFisher paper: `δw = −Σ_q w_q F⁻¹e_q / [F⁻¹]_qq`. If many weights of a block are removed,
    /// the same correction is applied several times.
    Summed,
    /// Compute the best change for all removed weights Q of a block together:
    /// `δw = −[F⁻¹]_:Q ([F⁻¹]_QQ)⁻¹ w_Q`. For a single weight it equals [`Summed`](Self::Summed).
    #[default]
    Joint,
}

/// Configuration of [`WoodFisher`](super::WoodFisher).
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::prune::{
///     Compensation, PruneCurvature, Selection, SparsityMask, WoodFisherConfig,
/// };
/// use burn_ief::solve::DampingAmount;
///
/// // As published, from 400 gradients.
/// let config = WoodFisherConfig::new(400)
///     .with_curvature(PruneCurvature::Empirical)
///     .with_selection(Selection::Independent)
///     .with_compensation(Compensation::Summed)
///     .with_damping(DampingAmount::Absolute(1e-5));
///
/// let model = LinearConfig::new(6, 3).init(&Device::flex().autodiff());
/// let dense = SparsityMask::weights(&model)?;
/// assert_eq!(config.init(&model, &dense).missing(), 400);
/// assert!(config.with_block_size(0).try_init(&model, &dense).is_err());
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct WoodFisherConfig {
    /// Number of per-sample gradients in the matrix, N. At least 1.
    pub gradients: usize,
    /// Which Fisher matrix approximates the curvature of the loss.
    #[config(default = "PruneCurvature::Improved")]
    pub curvature: PruneCurvature,
    /// Number of weights in a block, B. At least 1; `usize::MAX` makes one block per parameter.
    #[config(default = 64)]
    pub block_size: usize,
    /// Which weights of a matrix share a block.
    #[config(default = "BlockOrder::ColumnMajor")]
    pub order: BlockOrder,
    /// λ, above 0: absolute in mean form (added to `(1/N) Σ_n …`), or relative to the mean diagonal
    /// of the matrix of the first batch.
    #[config(default = "DampingAmount::Relative(1e-2)")]
    pub damping: DampingAmount,
    /// Whether removing one weight changes the saliency of the others in its block.
    #[config(default = "Selection::Sequential")]
    pub selection: Selection,
    /// How the weights that stay are changed to make up for the weights that are removed.
    #[config(default = "Compensation::Joint")]
    pub compensation: Compensation,
    /// Whether to rank all weights together or each parameter separately.
    #[config(default = "PruneScope::Global")]
    pub scope: PruneScope,
}

impl WoodFisherConfig {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let counts = [
            ("gradients", self.gradients),
            ("block_size", self.block_size),
        ];
        for (field, value) in counts {
            if value == 0 {
                return Err(Error::config(field, value, "at least 1"));
            }
        }
        let (DampingAmount::Absolute(damping) | DampingAmount::Relative(damping)) = self.damping;
        if damping.is_finite() && damping > 0.0 {
            Ok(())
        } else {
            Err(Error::config("damping", damping, "a finite number above 0"))
        }
    }
}
