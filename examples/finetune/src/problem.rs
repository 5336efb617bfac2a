//! What a model says about a row.

use burn_ief::Likelihood;
use burn_ief::eval::LossKind;
use burn_peft::settings::TaskType;
use serde::{Deserialize, Serialize};

use crate::metric::Metric;

/// What a model says about a row: the form of its labels, its loss, and what its predictions are.
///
/// Everything that depends on more than "one class" asks here.
///
/// ```
/// use finetune::problem::Problem;
///
/// assert_eq!(Problem::Regression.name(), Some("regression"));
/// assert_eq!(Problem::of_name("multi_label_classification"), Some(Problem::MultiLabel));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Problem {
    /// One of several classes. The loss is the cross-entropy.
    SingleLabel,
    /// Any number of labels, independent of each other. The loss is the sum of their binary cross-entropies.
    MultiLabel,
    /// A number. The loss is ½ (z − y)², in deviations of the training rows' numbers.
    Regression,
    /// A tag for each word. The loss is the cross-entropy, as a mean over the words.
    Tokens,
    /// The next tokens of a text.
    Language,
}

impl Problem {
    /// Its name in `transformers` (`problem_type`), for heads of whole texts.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::SingleLabel => Some("single_label_classification"),
            Self::MultiLabel => Some("multi_label_classification"),
            Self::Regression => Some("regression"),
            Self::Tokens | Self::Language => None,
        }
    }

    /// The one with this name in `transformers`.
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [Self::SingleLabel, Self::MultiLabel, Self::Regression];
        all.into_iter().find(|known| known.name() == Some(name))
    }

    /// The task that PEFT calls it, of an encoder with a head.
    pub(crate) fn task_type(self) -> TaskType {
        match self {
            Self::Tokens => TaskType::TokenClassification,
            _ => TaskType::SequenceClassification,
        }
    }

    /// The distribution whose negative log-likelihood the loss is.
    pub(crate) fn likelihood(self) -> Likelihood {
        match self {
            Self::SingleLabel | Self::Tokens | Self::Language => Likelihood::Categorical,
            Self::MultiLabel => Likelihood::Bernoulli,
            Self::Regression => Likelihood::Gaussian,
        }
    }

    /// The loss, for `burn_ief::eval`.
    pub fn loss_kind(self) -> LossKind {
        match self {
            Self::SingleLabel | Self::Tokens | Self::Language => LossKind::CrossEntropy,
            Self::MultiLabel => LossKind::BinaryCrossEntropy,
            Self::Regression => LossKind::LeastSquares,
        }
    }

    /// What predictions are judged by if a data set has no metrics of its own; the first one decides which epoch is the
    /// best.
    pub fn metrics(self, labels: &[String]) -> Vec<Metric> {
        match self {
            Self::SingleLabel => vec![Metric::Accuracy],
            Self::MultiLabel => vec![Metric::MicroF1, Metric::MacroF1, Metric::SubsetAccuracy],
            Self::Regression => vec![Metric::Mse, Metric::Pearson, Metric::Spearman],
            Self::Tokens if has_entities(labels) => vec![
                Metric::EntityF1,
                Metric::EntityPrecision,
                Metric::EntityRecall,
                Metric::Accuracy,
            ],
            Self::Tokens => vec![Metric::Accuracy],
            Self::Language => vec![Metric::Perplexity, Metric::Accuracy],
        }
    }
}

/// Whether tags mark where entities begin and go on (`B-PER`, `I-PER`, `O`), and are not parts of speech or the like.
fn has_entities(tags: &[String]) -> bool {
    let is_inside = |tag: &String| tag.starts_with("B-") || tag.starts_with("I-");
    tags.iter().any(is_inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_speech_are_no_entities() {
        let tags = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let first = |names: &[&str]| Problem::Tokens.metrics(&tags(names))[0];
        assert_eq!(first(&["O", "B-PER", "I-PER"]), Metric::EntityF1);
        assert_eq!(first(&["NOUN", "VERB", "O"]), Metric::Accuracy);
    }
}
