//! Which weights to prune, given what the removal of each one costs.

use super::schedule::check_sparsity;
use crate::error::{Error, PruneError};

/// Whether to rank all weights together or each parameter separately.
///
/// ```
/// use burn::module::Param;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::prune::{PruneScope, SparsityMask, prune_by_magnitude};
///
/// let device = Device::flex().autodiff();
/// let small = Param::from_tensor(Tensor::from_floats([[0.1, 0.2]], &device));
/// let large = Param::from_tensor(Tensor::from_floats([[3.0], [4.0]], &device));
/// let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(&device);
/// let mut model = vec![layer(1, 2), layer(2, 1)];
/// (model[0].weight, model[1].weight) = (small, large);
///
/// let dense = SparsityMask::weights(&model)?;
/// let counts = |scope| {
///     let pruned = prune_by_magnitude(model.clone(), &dense, 0.5, scope)?;
///     let layers = pruned.mask.layers();
///     Ok::<_, burn_ief::Error>([layers[0].pruned, layers[1].pruned])
/// };
/// assert_eq!(counts(PruneScope::Global)?, [2, 0]);
/// assert_eq!(counts(PruneScope::PerParameter)?, [1, 1]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PruneScope {
    /// Rank all weights together: parameters end up with different sparsities.
    #[default]
    Global,
    /// Rank the weights of each parameter separately: all parameters get the same sparsity.
    PerParameter,
}

/// The weights of one parameter, flattened (row-major).
pub(super) struct Candidates {
    pub path: String,
    /// What the removal of each weight costs.
    pub saliency: Vec<f64>,
    /// Weights that are pruned already and stay pruned.
    pub pruned: Vec<bool>,
}

/// Which weights are pruned when a share of `sparsity` is, those that were pruned before included.
///
/// Of two weights with equal saliency the one that comes first is pruned first.
///
/// # Errors
///
/// [`Error::Config`] if `sparsity` is not in 0 to 1; [`PruneError::NonFiniteWeights`](crate::error::PruneError::NonFiniteWeights) naming the first
/// parameter with a saliency that is NaN or infinite.
pub(super) fn select(
    candidates: &[Candidates],
    sparsity: f64,
    scope: PruneScope,
) -> Result<Vec<Vec<bool>>, Error> {
    check_sparsity("sparsity", sparsity)?;
    for candidate in candidates {
        for (saliency, &pruned) in candidate.saliency.iter().zip(&candidate.pruned) {
            if !pruned && !saliency.is_finite() {
                return Err(Error::Prune(PruneError::NonFiniteWeights {
                    what: "saliencies",
                    parameter: candidate.path.clone(),
                }));
            }
        }
    }
    Ok(match scope {
        PruneScope::Global => lowest(candidates, sparsity),
        PruneScope::PerParameter => candidates
            .iter()
            .flat_map(|candidate| lowest(std::slice::from_ref(candidate), sparsity))
            .collect(),
    })
}

/// A weight that may be pruned.
struct Ranked {
    saliency: f64,
    /// Index of its parameter.
    parameter: usize,
    /// Index of the weight in the parameter.
    entry: usize,
}

fn lowest(candidates: &[Candidates], sparsity: f64) -> Vec<Vec<bool>> {
    let mut pruned: Vec<Vec<bool>> = Vec::with_capacity(candidates.len());
    let mut left = Vec::new();
    let (mut total, mut before) = (0, 0);
    for (parameter, candidate) in candidates.iter().enumerate() {
        for (entry, &saliency) in candidate.saliency.iter().enumerate() {
            total += 1;
            if candidate.pruned[entry] {
                before += 1;
            } else {
                left.push(Ranked {
                    saliency,
                    parameter,
                    entry,
                });
            }
        }
        pruned.push(candidate.pruned.clone());
    }
    // Stable: equal saliencies stay in the order of the weights.
    left.sort_by(|a, b| a.saliency.total_cmp(&b.saliency));
    let wanted = (sparsity * total as f64).round() as usize;
    for weight in left.iter().take(wanted.saturating_sub(before)) {
        pruned[weight.parameter][weight.entry] = true;
    }
    pruned
}

/// Sum of the saliencies of the weights that are pruned in `after` and were not before.
pub(super) fn removed_cost(candidates: &[Candidates], after: &[Vec<bool>]) -> f64 {
    let mut cost = 0.0;
    for (candidate, after) in candidates.iter().zip(after) {
        for (entry, saliency) in candidate.saliency.iter().enumerate() {
            if after[entry] && !candidate.pruned[entry] {
                cost += saliency;
            }
        }
    }
    cost
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates(saliency: &[Vec<f64>], pruned: &[Vec<bool>]) -> Vec<Candidates> {
        let pairs = saliency.iter().zip(pruned);
        pairs
            .map(|(saliency, pruned)| Candidates {
                path: "weight".into(),
                saliency: saliency.clone(),
                pruned: pruned.clone(),
            })
            .collect()
    }

    #[test]
    fn the_scope_decides_where_the_lowest_are() {
        let saliency = [vec![1.0, 2.0, 3.0, 4.0], vec![10.0, 20.0, 30.0, 40.0]];
        let none = [vec![false; 4], vec![false; 4]];
        let all = candidates(&saliency, &none);
        let global = select(&all, 0.5, PruneScope::Global).unwrap();
        assert_eq!(global, [vec![true; 4], vec![false; 4]]);
        let each = select(&all, 0.5, PruneScope::PerParameter).unwrap();
        assert_eq!(each, [[true, true, false, false]; 2]);
    }

    #[test]
    fn bad_input_is_named() {
        let pruned = [vec![false; 2]];
        let nan = [vec![f64::NAN, 1.0]];
        let error = select(&candidates(&nan, &pruned), 0.5, PruneScope::Global).unwrap_err();
        assert!(
            matches!(error, Error::Prune(PruneError::NonFiniteWeights { .. })),
            "{error}"
        );
        let good = [vec![1.0, 2.0]];
        for sparsity in [-0.1, 1.1, f64::NAN] {
            let error =
                select(&candidates(&good, &pruned), sparsity, PruneScope::Global).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::Config {
                        field: "sparsity",
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_count_is_exact_and_old_ones_stay(
            entries in proptest::collection::vec((0.0..1.0f64, any::<bool>()), 1..40),
            sparsity in 0.0..=1.0f64,
        ) {
            let (saliency, pruned): (Vec<f64>, Vec<bool>) = entries.into_iter().unzip();
            let (saliency, pruned) = ([saliency], [pruned]);
            let after = select(&candidates(&saliency, &pruned), sparsity, PruneScope::Global).unwrap();
            let count = |flags: &[bool]| flags.iter().filter(|&&flag| flag).count();
            let wanted = (sparsity * pruned[0].len() as f64).round() as usize;
            prop_assert_eq!(count(&after[0]), wanted.max(count(&pruned[0])));
            let new = |q: usize| after[0][q] && !pruned[0][q];
            let worst = (0..after[0].len()).filter(|&q| new(q)).map(|q| saliency[0][q]);
            let worst = worst.fold(0.0, f64::max);
            for q in 0..after[0].len() {
                prop_assert!(after[0][q] || !pruned[0][q]);
                prop_assert!(after[0][q] || saliency[0][q] >= worst);
            }
        }
    }
}
