//! Which weights go.

use super::schedule::check_sparsity;
use crate::error::Error;

/// Among which weights the least salient are looked for.
///
/// ```
/// use burn_ief::woodfisher::{Scope, WoodFisherConfig};
///
/// let config = WoodFisherConfig::new(400).with_scope(Scope::PerParameter);
/// # let _ = config;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Scope {
    /// All of them: layers end up with different sparsities.
    #[default]
    Global,
    /// Each parameter by itself: all have the same sparsity.
    PerParameter,
}

/// Saliency of the weights of one parameter.
pub(super) struct Candidates<'a> {
    pub path: &'a str,
    pub saliency: &'a [f64],
    /// Those that are pruned already, and stay so.
    pub pruned: &'a [bool],
}

/// The weights that are pruned when a share of `sparsity` is, old ones included.
///
/// Of equal saliencies the first in order goes first.
pub(super) fn select(
    candidates: &[Candidates<'_>],
    sparsity: f64,
    scope: Scope,
) -> Result<Vec<Vec<bool>>, Error> {
    check_sparsity("sparsity", sparsity)?;
    let mut bad = candidates.iter().filter(|candidate| {
        let mut entries = candidate.saliency.iter().zip(candidate.pruned);
        entries.any(|(value, &pruned)| !pruned && !value.is_finite())
    });
    if let Some(candidate) = bad.next() {
        return Err(Error::Curvature {
            what: "saliencies",
            parameter: candidate.path.to_string(),
        });
    }
    Ok(match scope {
        Scope::Global => lowest(candidates, sparsity),
        Scope::PerParameter => candidates
            .iter()
            .flat_map(|candidate| lowest(std::slice::from_ref(candidate), sparsity))
            .collect(),
    })
}

fn lowest(candidates: &[Candidates<'_>], sparsity: f64) -> Vec<Vec<bool>> {
    let mut pruned: Vec<Vec<bool>> = candidates.iter().map(|c| c.pruned.to_vec()).collect();
    let total: usize = pruned.iter().map(Vec::len).sum();
    let before = pruned.iter().flatten().filter(|&&pruned| pruned).count();
    let wanted = (sparsity * total as f64).round() as usize;
    let mut left: Vec<(f64, usize, usize)> = Vec::with_capacity(total - before);
    for (k, candidate) in candidates.iter().enumerate() {
        let entries = candidate.saliency.iter().enumerate();
        let entries = entries.filter(|&(q, _)| !candidate.pruned[q]);
        left.extend(entries.map(|(q, &saliency)| (saliency, k, q)));
    }
    left.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    for &(_, k, q) in left.iter().take(wanted.saturating_sub(before)) {
        pruned[k][q] = true;
    }
    pruned
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidates<'a>(saliency: &'a [Vec<f64>], pruned: &'a [Vec<bool>]) -> Vec<Candidates<'a>> {
        let pairs = saliency.iter().zip(pruned);
        pairs
            .map(|(saliency, pruned)| Candidates {
                path: "weight",
                saliency,
                pruned,
            })
            .collect()
    }

    #[test]
    fn the_scope_decides_where_the_lowest_are() {
        let saliency = [vec![1.0, 2.0, 3.0, 4.0], vec![10.0, 20.0, 30.0, 40.0]];
        let none = [vec![false; 4], vec![false; 4]];
        let all = candidates(&saliency, &none);
        let global = select(&all, 0.5, Scope::Global).unwrap();
        assert_eq!(global, [vec![true; 4], vec![false; 4]]);
        let each = select(&all, 0.5, Scope::PerParameter).unwrap();
        assert_eq!(each, [[true, true, false, false]; 2]);
    }

    #[test]
    fn bad_input_is_named() {
        let pruned = [vec![false; 2]];
        let nan = [vec![f64::NAN, 1.0]];
        let error = select(&candidates(&nan, &pruned), 0.5, Scope::Global).unwrap_err();
        assert!(matches!(error, Error::Curvature { .. }), "{error}");
        let good = [vec![1.0, 2.0]];
        for sparsity in [-0.1, 1.1, f64::NAN] {
            let error = select(&candidates(&good, &pruned), sparsity, Scope::Global).unwrap_err();
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
            let after = select(&candidates(&saliency, &pruned), sparsity, Scope::Global).unwrap();
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
