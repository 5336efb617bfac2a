//! Pruning by magnitude.

use burn::module::Module;

use super::SparsityMask;
use super::method::{Pruned, removed_cost};
use super::parameters::read;
use super::select::{Candidates, Scope, select};
use crate::error::Error;

/// Prune the weights that `mask` covers to a sparsity, smallest absolute values first.
///
/// What `mask` has pruned stays pruned; all other weights keep their values. It needs no gradients.
///
/// ```
/// use burn::module::Param;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::woodfisher::{Scope, SparsityMask, magnitude};
///
/// let device = Device::flex().autodiff();
/// let mut model = LinearConfig::new(2, 2).init(&device);
/// model.weight = Param::from_tensor(Tensor::from_floats([[3.0, -1.0], [0.5, -4.0]], &device));
/// let dense = SparsityMask::weights(&model)?;
/// let pruned = magnitude(model, &dense, 0.5, Scope::Global)?;
/// assert_eq!(pruned.mask.at("weight").unwrap(), [false, true, true, false]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Config`] for a sparsity outside 0 to 1, [`Error::ForeignMask`] if the mask is not one of
/// this module, [`Error::Curvature`] if a weight is NaN or infinite.
pub fn magnitude<M: Module>(
    module: M,
    mask: &SparsityMask,
    sparsity: f64,
    scope: Scope,
) -> Result<Pruned<M>, Error> {
    let params = mask.locate(&module)?;
    let weights = read(&module, &params);
    // The cost of removing a weight if F is the identity.
    let saliency: Vec<Vec<f64>> = weights
        .iter()
        .map(|weights| weights.iter().map(|w| 0.5 * w * w).collect())
        .collect();
    let before = mask.to_host();
    let candidates = params.iter().zip(&saliency).zip(&before);
    let candidates: Vec<Candidates<'_>> = candidates
        .map(|((param, saliency), pruned)| Candidates {
            path: &param.path,
            saliency,
            pruned,
        })
        .collect();
    let after = select(&candidates, sparsity, scope)?;
    let cost = removed_cost(&saliency, &before, &after);
    let mask = mask.with_pruned(after);
    Ok(Pruned {
        model: mask.apply(module)?,
        mask,
        cost,
    })
}
