//! Pruning by magnitude.

use burn::module::Module;

use super::mask::SparsityMask;
use super::parameters::read;
use super::pruned::Pruned;
use super::select::{Candidates, PruneScope, removed_cost, select};
use crate::error::Error;

/// Prune the weights that `mask` covers to a sparsity, smallest absolute values first.
///
/// `sparsity` is the share of the covered weights that are pruned afterwards, 0 to 1. Weights that
/// `mask` has pruned already stay pruned, and count. All other weights keep their values. No
/// gradients are needed.
///
/// ```
/// use burn::module::Param;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::prune::{PruneScope, SparsityMask, prune_by_magnitude};
///
/// let device = Device::flex().autodiff();
/// let mut model = LinearConfig::new(2, 2).init(&device);
/// model.weight = Param::from_tensor(Tensor::from_floats([[3.0, -1.0], [0.5, -4.0]], &device));
/// let dense = SparsityMask::weights(&model)?;
/// let pruned = prune_by_magnitude(model, &dense, 0.5, PruneScope::Global)?;
/// assert_eq!(pruned.mask.at("weight").unwrap(), [false, true, true, false]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// - [`Error::Config`] if `sparsity` is not in 0 to 1.
/// - [`PruneError::ForeignMask`](crate::error::PruneError::ForeignMask) if the mask was made for another module.
/// - [`PruneError::NonFiniteWeights`](crate::error::PruneError::NonFiniteWeights) if a weight is NaN or infinite.
pub fn prune_by_magnitude<M: Module>(
    module: M,
    mask: &SparsityMask,
    sparsity: f64,
    scope: PruneScope,
) -> Result<Pruned<M>, Error> {
    let params = mask.locate(&module)?;
    let weights = read(&module, &params);
    let mut candidates = Vec::with_capacity(params.len());
    for ((param, weights), pruned) in params.iter().zip(weights).zip(mask.to_host()) {
        candidates.push(Candidates {
            path: param.path.clone(),
            // What removing a weight costs in the quadratic model if F is the identity.
            saliency: weights.iter().map(|w| 0.5 * w * w).collect(),
            pruned,
        });
    }
    let after = select(&candidates, sparsity, scope)?;
    let cost = removed_cost(&candidates, &after);
    let mask = mask.with_pruned(after);
    Ok(Pruned {
        model: mask.apply(module)?,
        mask,
        cost,
    })
}
