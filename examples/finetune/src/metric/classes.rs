//! Metrics of classes.

use std::collections::BTreeMap;

fn correct(pairs: &[(usize, usize)]) -> f64 {
    let correct = pairs.iter().filter(|(predicted, label)| predicted == label);
    correct.count() as f64
}

pub(super) fn accuracy(pairs: &[(usize, usize)]) -> f64 {
    correct(pairs) / pairs.len() as f64
}

pub(super) fn f1(pairs: &[(usize, usize)]) -> f64 {
    let count = |of: (bool, bool)| {
        let same = pairs.iter().filter(|(p, l)| (*p == 1, *l == 1) == of);
        same.count() as f64
    };
    let (hits, misses) = (
        count((true, true)),
        count((true, false)) + count((false, true)),
    );
    match hits + misses {
        0.0 => 0.0,
        _ => 2.0 * hits / (2.0 * hits + misses),
    }
}

/// Gorodkin's form of Matthews' correlation for K classes: (c·n − Σ pₖtₖ) / √((n² − Σ pₖ²)(n² − Σ tₖ²)).
pub(super) fn matthews(pairs: &[(usize, usize)]) -> f64 {
    let mut counts: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for &(predicted, label) in pairs {
        counts.entry(predicted).or_default().0 += 1.0;
        counts.entry(label).or_default().1 += 1.0;
    }
    let sum = |of: fn(&(f64, f64)) -> f64| counts.values().map(of).sum::<f64>();
    let n = pairs.len() as f64;
    let covariance = correct(pairs) * n - sum(|(p, t)| p * t);
    let predicted = n * n - sum(|(p, _)| p * p);
    let labels = n * n - sum(|(_, t)| t * t);
    if predicted == 0.0 || labels == 0.0 {
        return 0.0;
    }
    // Rounding can leave the range.
    (covariance / (predicted.sqrt() * labels.sqrt())).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 3 true positives, 1 false positive, 2 false negatives, 4 true negatives.
    fn table() -> Vec<(usize, usize)> {
        [((1, 1), 3), ((1, 0), 1), ((0, 1), 2), ((0, 0), 4)]
            .into_iter()
            .flat_map(|(pair, count)| vec![pair; count])
            .collect()
    }

    #[test]
    fn two_classes_by_hand() {
        assert_eq!(accuracy(&table()), 0.7);
        // 2·3 / (2·3 + 1 + 2)
        assert!((f1(&table()) - 6.0 / 9.0).abs() < 1e-15);
        // (3·4 − 1·2) / √(4·5·5·6)
        let expected = 10.0 / 600f64.sqrt();
        assert!((matthews(&table()) - expected).abs() < 1e-15);
    }

    #[test]
    fn three_classes_by_hand() {
        // c = 3, n = 5, p = (2, 2, 1), t = (2, 1, 2): (15 − 8) / √((25 − 9)(25 − 9))
        let pairs = [(0, 0), (0, 2), (1, 1), (1, 0), (2, 2)];
        assert!((matthews(&pairs) - 7.0 / 16.0).abs() < 1e-15);
        assert_eq!(accuracy(&pairs), 0.6);
    }

    #[test]
    fn one_sided_tables_are_0() {
        assert_eq!(f1(&[(0, 0), (0, 0)]), 0.0);
        assert_eq!(f1(&[(0, 1)]), 0.0);
        assert_eq!(matthews(&[(1, 0), (1, 1)]), 0.0);
    }

    proptest! {
        #[test]
        fn metrics_stay_in_range_and_know_perfection(
            pairs in prop::collection::vec((0usize..4, 0usize..4), 1..60),
        ) {
            for metric in [accuracy, f1, matthews] {
                let score = metric(&pairs);
                prop_assert!((-1.0..=1.0).contains(&score), "{score}");
            }
            let perfect: Vec<_> = pairs.iter().map(|&(_, label)| (label, label)).collect();
            prop_assert_eq!(accuracy(&perfect), 1.0);
            if perfect.iter().any(|pair| pair.0 != perfect[0].0) {
                prop_assert!((matthews(&perfect) - 1.0).abs() < 1e-12);
            }
            if perfect.iter().any(|pair| pair.0 == 1) {
                prop_assert_eq!(f1(&perfect), 1.0);
            }
        }

        #[test]
        fn order_and_names_of_classes_do_not_matter(
            pairs in prop::collection::vec((0usize..3, 0usize..3), 1..60),
        ) {
            let renamed: Vec<_> = pairs.iter().rev().map(|(p, l)| (2 - p, 2 - l)).collect();
            for metric in [accuracy, matthews] {
                prop_assert!((metric(&pairs) - metric(&renamed)).abs() < 1e-12);
            }
        }

        #[test]
        fn exchanging_predictions_and_labels_keeps_f1_and_matthews(
            pairs in prop::collection::vec((0usize..2, 0usize..2), 1..60),
        ) {
            let exchanged: Vec<_> = pairs.iter().map(|&(p, l)| (l, p)).collect();
            for metric in [f1, matthews] {
                prop_assert!((metric(&pairs) - metric(&exchanged)).abs() < 1e-12);
            }
        }
    }
}
