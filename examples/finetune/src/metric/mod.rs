//! The metrics of the tasks.

mod classes;
mod entities;
mod label_sets;
mod numbers;

use std::fmt;

pub use entities::{Entity, entities};

/// Predictions next to what would have been right, `(predicted, true)`.
///
/// ```
/// use finetune::metric::Pairs;
///
/// let mut all = Pairs::Numbers(vec![(1.5, 2.0)]);
/// all.extend(Pairs::Numbers(vec![(0.5, 0.0)]));
/// assert_eq!(all.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Pairs {
    /// A class for each row, or for each token of a language model.
    Classes(Vec<(usize, usize)>),
    /// For each row, whether each label applies.
    LabelSets(Vec<(Vec<bool>, Vec<bool>)>),
    /// A number for each row.
    Numbers(Vec<(f64, f64)>),
    /// For each row, the tag of each word.
    Tags(Vec<(Vec<usize>, Vec<usize>)>),
}

impl Pairs {
    /// Rows, or tokens of language models.
    pub fn len(&self) -> usize {
        match self {
            Self::Classes(pairs) => pairs.len(),
            Self::LabelSets(pairs) => pairs.len(),
            Self::Numbers(pairs) => pairs.len(),
            Self::Tags(pairs) => pairs.len(),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Add what another batch gave.
    ///
    /// # Panics
    ///
    /// Panics if the other one is of another kind and neither is empty.
    pub fn extend(&mut self, more: Self) {
        match (&mut *self, more) {
            (Self::Classes(all), Self::Classes(more)) => all.extend(more),
            (Self::LabelSets(all), Self::LabelSets(more)) => all.extend(more),
            (Self::Numbers(all), Self::Numbers(more)) => all.extend(more),
            (Self::Tags(all), Self::Tags(more)) => all.extend(more),
            (own, more) => match (own.is_empty(), more.is_empty()) {
                (true, _) => *self = more,
                (false, true) => {}
                (false, false) => panic!("predictions of two kinds cannot be judged together"),
            },
        }
    }
}

impl Default for Pairs {
    fn default() -> Self {
        Self::Classes(Vec::new())
    }
}

/// A number that predictions are judged by.
///
/// ```
/// use finetune::metric::{Metric, Pairs};
///
/// // (predicted, true)
/// let classes = Pairs::Classes(vec![(1, 1), (1, 0), (0, 0), (1, 1)]);
/// assert_eq!(Metric::Accuracy.score(&classes, &[], 0.7), 0.75);
/// assert_eq!(Metric::F1.score(&classes, &[], 0.7), 0.8);
/// assert_eq!(Metric::Perplexity.score(&classes, &[], 2f64.ln()), 2.0);
/// let numbers = Pairs::Numbers(vec![(1.0, 2.0), (3.0, 3.0)]);
/// assert_eq!(Metric::Mse.score(&numbers, &[], 0.7), 0.5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Metric {
    /// Share of correct predictions; of tags, the share of words.
    Accuracy,
    /// Harmonic mean of precision and recall of class 1.
    F1,
    /// Matthews' correlation of predictions and labels, for any number of classes.
    Matthews,
    /// e to the mean loss of a token; the lower the better.
    Perplexity,
    /// Mean squared error, in the units of the data; the lower the better.
    Mse,
    /// Pearson's correlation of predictions and true numbers.
    Pearson,
    /// Spearman's correlation: Pearson's of the ranks, where equal numbers share the mean of theirs.
    Spearman,
    /// F1 over all labels of all rows together.
    MicroF1,
    /// Mean over the labels of the F1 of each.
    MacroF1,
    /// Share of rows all of whose labels are right.
    SubsetAccuracy,
    /// Share of right ones among the predicted entities.
    EntityPrecision,
    /// Share of the true entities that were found, with the right ends and the right type.
    EntityRecall,
    /// Harmonic mean of these two.
    EntityF1,
}

impl Metric {
    /// All of them.
    const ALL: [Self; 13] = [
        Self::Accuracy,
        Self::F1,
        Self::Matthews,
        Self::Perplexity,
        Self::Mse,
        Self::Pearson,
        Self::Spearman,
        Self::MicroF1,
        Self::MacroF1,
        Self::SubsetAccuracy,
        Self::EntityPrecision,
        Self::EntityRecall,
        Self::EntityF1,
    ];

    /// The metric: 0 to 1, correlations −1 to 1; perplexity follows from the mean loss. `labels` are the names of
    /// classes or tags, which entities depend on.
    ///
    /// Quotients are 0 where their divisor is: F1 where nothing is predicted or true, a correlation where all predictions or
    /// all labels are the same. Without predictions, and for predictions of another kind, the answer is NaN.
    pub fn score(self, pairs: &Pairs, labels: &[String], loss: f64) -> f64 {
        if pairs.is_empty() {
            return f64::NAN;
        }
        match (self, pairs) {
            (Self::Perplexity, _) => loss.exp(),
            (Self::Accuracy, Pairs::Classes(pairs)) => classes::accuracy(pairs),
            (Self::F1, Pairs::Classes(pairs)) => classes::f1(pairs),
            (Self::Matthews, Pairs::Classes(pairs)) => classes::matthews(pairs),
            (Self::Mse, Pairs::Numbers(pairs)) => numbers::mean_squared_error(pairs),
            (Self::Pearson, Pairs::Numbers(pairs)) => numbers::pearson(pairs),
            (Self::Spearman, Pairs::Numbers(pairs)) => numbers::spearman(pairs),
            (Self::MicroF1, Pairs::LabelSets(pairs)) => label_sets::micro_f1(pairs),
            (Self::MacroF1, Pairs::LabelSets(pairs)) => label_sets::macro_f1(pairs),
            (Self::SubsetAccuracy, Pairs::LabelSets(pairs)) => label_sets::subset_accuracy(pairs),
            (Self::Accuracy, Pairs::Tags(pairs)) => {
                let words = pairs.iter();
                let words = words.flat_map(|(p, t)| p.iter().copied().zip(t.iter().copied()));
                classes::accuracy(&words.collect::<Vec<_>>())
            }
            (Self::EntityPrecision, Pairs::Tags(pairs)) => {
                entities::Found::of(pairs, labels).precision()
            }
            (Self::EntityRecall, Pairs::Tags(pairs)) => entities::Found::of(pairs, labels).recall(),
            (Self::EntityF1, Pairs::Tags(pairs)) => entities::Found::of(pairs, labels).f1(),
            _ => f64::NAN,
        }
    }

    /// Whether the better of two values is the lower one.
    pub fn is_lower_better(self) -> bool {
        matches!(self, Self::Perplexity | Self::Mse)
    }

    /// Of two values of the metric with this name, a number that is higher for the better one; `name` may be that of
    /// a metric that this version does not know.
    pub fn merit(name: &str, value: f64) -> f64 {
        let known = Self::ALL.into_iter().find(|metric| metric.name() == name);
        if known.is_some_and(Self::is_lower_better) {
            -value
        } else {
            value
        }
    }

    /// A short name for tables and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 => "F1",
            Self::Matthews => "Matthews",
            Self::Perplexity => "perplexity",
            Self::Mse => "MSE",
            Self::Pearson => "Pearson",
            Self::Spearman => "Spearman",
            Self::MicroF1 => "micro F1",
            Self::MacroF1 => "macro F1",
            Self::SubsetAccuracy => "subset accuracy",
            Self::EntityPrecision => "entity precision",
            Self::EntityRecall => "entity recall",
            Self::EntityF1 => "entity F1",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The quotient of counts, or 0 if the divisor is.
fn share(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 0.0,
        _ => part as f64 / whole as f64,
    }
}

/// F1 of true positives, and of false positives and negatives together.
fn f1(hits: usize, misses: usize) -> f64 {
    share(2 * hits, 2 * hits + misses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_follows_from_the_loss_and_less_of_it_is_better() {
        let pairs = Pairs::Classes(vec![(1, 1), (0, 1)]);
        let [low, high] = [1.0, 2.0].map(|loss| Metric::Perplexity.score(&pairs, &[], loss));
        assert!((low - 1f64.exp()).abs() < 1e-15 && high > low);
        assert!(Metric::merit("perplexity", low) > Metric::merit("perplexity", high));
        assert!(Metric::merit("MSE", 1.0) > Metric::merit("MSE", 2.0));
        assert!(Metric::merit("accuracy", 0.9) > Metric::merit("accuracy", 0.8));
        assert!(
            Metric::merit("of another version", 0.9) > Metric::merit("of another version", 0.8)
        );
    }

    #[test]
    fn nothing_and_other_kinds_are_undefined() {
        assert!(Metric::Accuracy.score(&Pairs::default(), &[], 0.0).is_nan());
        let numbers = Pairs::Numbers(vec![(1.0, 1.0)]);
        assert!(Metric::Accuracy.score(&numbers, &[], 0.0).is_nan());
        assert!(Metric::EntityF1.score(&numbers, &[], 0.0).is_nan());
    }

    #[test]
    fn what_is_empty_takes_the_kind_of_what_comes() {
        let mut all = Pairs::default();
        all.extend(Pairs::Tags(vec![(vec![1], vec![0])]));
        all.extend(Pairs::default());
        all.extend(Pairs::Tags(vec![(vec![1, 1], vec![1, 1])]));
        assert_eq!(all.len(), 2);
        assert_eq!(Metric::Accuracy.score(&all, &[], 0.0), 2.0 / 3.0);
    }
}
