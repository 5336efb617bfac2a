//! The metrics of the tasks.

use std::collections::BTreeMap;
use std::fmt;

/// A number that predictions are judged by.
///
/// ```
/// use finetune::metric::Metric;
///
/// // (predicted, true)
/// let pairs = [(1, 1), (1, 0), (0, 0), (1, 1)];
/// assert_eq!(Metric::Accuracy.score(&pairs, 0.7), 0.75);
/// assert_eq!(Metric::F1.score(&pairs, 0.7), 0.8);
/// assert_eq!(Metric::Perplexity.score(&pairs, 2f64.ln()), 2.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Share of correct predictions.
    Accuracy,
    /// Harmonic mean of precision and recall of class 1.
    F1,
    /// Matthews' correlation of predictions and labels, for any number of classes.
    Matthews,
    /// e to the mean loss of a token; the lower the better.
    Perplexity,
}

impl Metric {
    /// The metric of pairs `(predicted, true)`: 0 to 1, Matthews −1 to 1; perplexity follows from the mean loss.
    ///
    /// F1 is 0 where class 1 is neither predicted nor true, and Matthews is 0 where predictions or
    /// labels are all the same; without pairs the answer is NaN.
    pub fn score(self, pairs: &[(usize, usize)], loss: f64) -> f64 {
        if pairs.is_empty() {
            return f64::NAN;
        }
        match self {
            Self::Accuracy => accuracy(pairs),
            Self::F1 => f1(pairs),
            Self::Matthews => matthews(pairs),
            Self::Perplexity => loss.exp(),
        }
    }

    /// Of two values of the metric with this name, a number that is higher for the better one; `name` may be that of
    /// a metric that this version does not know.
    pub fn merit(name: &str, value: f64) -> f64 {
        if name == Self::Perplexity.name() {
            -value
        } else {
            value
        }
    }

    /// One word for tables and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "F1",
            Self::Matthews => "Matthews",
            Self::Perplexity => "perplexity",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn correct(pairs: &[(usize, usize)]) -> f64 {
    let correct = pairs.iter().filter(|(predicted, label)| predicted == label);
    correct.count() as f64
}

fn accuracy(pairs: &[(usize, usize)]) -> f64 {
    correct(pairs) / pairs.len() as f64
}

fn f1(pairs: &[(usize, usize)]) -> f64 {
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

/// Gorodkin's form for K classes: (c·n − Σ pₖtₖ) / √((n² − Σ pₖ²)(n² − Σ tₖ²)).
fn matthews(pairs: &[(usize, usize)]) -> f64 {
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
        assert_eq!(Metric::Accuracy.score(&table(), 0.0), 0.7);
        // 2·3 / (2·3 + 1 + 2)
        assert!((Metric::F1.score(&table(), 0.0) - 6.0 / 9.0).abs() < 1e-15);
        // (3·4 − 1·2) / √(4·5·5·6)
        let expected = 10.0 / 600f64.sqrt();
        assert!((Metric::Matthews.score(&table(), 0.0) - expected).abs() < 1e-15);
    }

    #[test]
    fn three_classes_by_hand() {
        // c = 3, n = 5, p = (2, 2, 1), t = (2, 1, 2): (15 − 8) / √((25 − 9)(25 − 9))
        let pairs = [(0, 0), (0, 2), (1, 1), (1, 0), (2, 2)];
        assert!((Metric::Matthews.score(&pairs, 0.0) - 7.0 / 16.0).abs() < 1e-15);
        assert_eq!(Metric::Accuracy.score(&pairs, 0.0), 0.6);
    }

    #[test]
    fn perplexity_follows_from_the_loss_and_less_of_it_is_better() {
        let pairs = [(1, 1), (0, 1)];
        let [low, high] = [1.0, 2.0].map(|loss| Metric::Perplexity.score(&pairs, loss));
        assert!((low - 1f64.exp()).abs() < 1e-15 && high > low);
        assert!(Metric::merit("perplexity", low) > Metric::merit("perplexity", high));
        assert!(Metric::merit("accuracy", 0.9) > Metric::merit("accuracy", 0.8));
    }

    #[test]
    fn one_sided_tables_are_0_and_empty_ones_undefined() {
        assert_eq!(Metric::F1.score(&[(0, 0), (0, 0)], 0.0), 0.0);
        assert_eq!(Metric::F1.score(&[(0, 1)], 0.0), 0.0);
        assert_eq!(Metric::Matthews.score(&[(1, 0), (1, 1)], 0.0), 0.0);
        assert!(Metric::Accuracy.score(&[], 0.0).is_nan());
    }

    proptest! {
        #[test]
        fn metrics_stay_in_range_and_know_perfection(
            pairs in prop::collection::vec((0usize..4, 0usize..4), 1..60),
        ) {
            for metric in [Metric::Accuracy, Metric::F1, Metric::Matthews] {
                let score = metric.score(&pairs, 0.0);
                prop_assert!((-1.0..=1.0).contains(&score), "{metric} {score}");
            }
            let perfect: Vec<_> = pairs.iter().map(|&(_, label)| (label, label)).collect();
            prop_assert_eq!(Metric::Accuracy.score(&perfect, 0.0), 1.0);
            if perfect.iter().any(|pair| pair.0 != perfect[0].0) {
                prop_assert!((Metric::Matthews.score(&perfect, 0.0) - 1.0).abs() < 1e-12);
            }
            if perfect.iter().any(|pair| pair.0 == 1) {
                prop_assert_eq!(Metric::F1.score(&perfect, 0.0), 1.0);
            }
        }

        #[test]
        fn order_and_names_of_classes_do_not_matter(
            pairs in prop::collection::vec((0usize..3, 0usize..3), 1..60),
        ) {
            let renamed: Vec<_> = pairs.iter().rev().map(|(p, l)| (2 - p, 2 - l)).collect();
            for metric in [Metric::Accuracy, Metric::Matthews] {
                prop_assert!((metric.score(&pairs, 0.0) - metric.score(&renamed, 0.0)).abs() < 1e-12);
            }
        }

        #[test]
        fn exchanging_predictions_and_labels_keeps_f1_and_matthews(
            pairs in prop::collection::vec((0usize..2, 0usize..2), 1..60),
        ) {
            let exchanged: Vec<_> = pairs.iter().map(|&(p, l)| (l, p)).collect();
            for metric in [Metric::F1, Metric::Matthews] {
                prop_assert!((metric.score(&pairs, 0.0) - metric.score(&exchanged, 0.0)).abs() < 1e-12);
            }
        }
    }
}
