//! A pruned model.

use super::mask::SparsityMask;

/// A pruned model with its mask, as [`prune_by_magnitude`](super::prune_by_magnitude) and
/// [`WoodFisher::prune`](super::WoodFisher::prune) return it.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::prune::{PruneScope, Pruned, SparsityMask, prune_by_magnitude};
///
/// let model = LinearConfig::new(4, 5).init(&Device::flex().autodiff());
/// let dense = SparsityMask::weights(&model)?;
/// let pruned = prune_by_magnitude(model, &dense, 0.5, PruneScope::Global)?;
/// let Pruned { model, mask, .. } = pruned;
/// assert_eq!(model.weight.val().equal_elem(0.0).int().sum().into_scalar::<i64>(), 10);
/// assert_eq!(mask.pruned(), 10);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Pruned<M> {
    /// The model. Its pruned weights are zero.
    pub model: M,
    /// Which weights are pruned: those of this call and those that were pruned before it.
    pub mask: SparsityMask,
    /// Sum of the saliencies of the weights that this call removed.
    ///
    /// For [`WoodFisher`](super::WoodFisher) it is in units of the mean loss. With
    /// [`Selection::Sequential`](super::Selection::Sequential) and
    /// [`Compensation::Joint`](super::Compensation::Joint) it bounds the rise of the mean loss in
    /// the quadratic model. For [`prune_by_magnitude`](super::prune_by_magnitude) it is half the sum
    /// of the squared weights.
    pub cost: f64,
}
