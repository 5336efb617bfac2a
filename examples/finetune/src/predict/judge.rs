//! Predictions next to what would have been right.

use std::path::Path;

use programs::printing::{quoted_list, short};

use super::columns::Row;
use super::prediction::{Prediction, largest};
use crate::data::{Cell, Error, label_set, number};
use crate::metric::{Metric, Pairs};
use crate::problem::Problem;

/// How predicting went.
///
/// ```
/// use finetune::metric::Metric;
/// use finetune::predict::Summary;
///
/// let summary = Summary { rows: 10, labelled: 8, scores: vec![(Metric::Accuracy, 0.75)] };
/// assert_eq!(summary.score(Metric::Accuracy), Some(0.75));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Rows.
    pub rows: usize,
    /// Rows with a true label.
    pub labelled: usize,
    /// Metrics of these, where there are labels.
    pub scores: Vec<(Metric, f64)>,
}

impl Summary {
    /// One of the metrics.
    pub fn score(&self, metric: Metric) -> Option<f64> {
        let found = self.scores.iter().find(|(known, _)| *known == metric);
        found.map(|(_, score)| *score)
    }
}

/// Collects predictions of rows that say what would be right.
pub(super) struct Judge<'a> {
    pub problem: Problem,
    pub labels: &'a [String],
    /// What is between labels in a text.
    pub separator: &'a str,
    pub path: &'a Path,
    pairs: Pairs,
    rows: usize,
    labelled: usize,
}

impl<'a> Judge<'a> {
    pub fn new(problem: Problem, labels: &'a [String], separator: &'a str, path: &'a Path) -> Self {
        Self {
            problem,
            labels,
            separator,
            path,
            pairs: Pairs::default(),
            rows: 0,
            labelled: 0,
        }
    }

    /// Note a row. A class or tag that the model does not know was not predicted.
    pub fn add(&mut self, row: &Row, prediction: &Prediction) -> Result<(), Error> {
        self.rows += 1;
        let Some(label) = &row.label else {
            return Ok(());
        };
        let refuse = |problem: String| Error::line(self.path, row.line, problem);
        let place = |name: &str| {
            let place = self.labels.iter().position(|label| label == name);
            place.unwrap_or(self.labels.len())
        };
        let pairs = match (prediction, label) {
            (Prediction::Classes(classes), Cell::Text(label)) => {
                Pairs::Classes(vec![(largest(classes), place(label))])
            }
            (Prediction::Classes(_), Cell::List(_)) => {
                let problem = "a list of labels, expected one: the model predicts one class";
                return Err(refuse(problem.into()));
            }
            (Prediction::Labels(probabilities), label) => {
                let set = label_set(label, self.separator).map_err(refuse)?;
                let mut truth = vec![false; self.labels.len()];
                for name in set {
                    let Some(applies) = truth.get_mut(place(&name)) else {
                        let known = quoted_list(self.labels);
                        return Err(refuse(format!(
                            "unknown label `{}`, expected labels of the model: {known}",
                            short(&name)
                        )));
                    };
                    *applies = true;
                }
                let predicted = probabilities.iter().map(|&p| p > 0.5).collect();
                Pairs::LabelSets(vec![(predicted, truth)])
            }
            (Prediction::Number(predicted), Cell::Text(label)) => {
                let Some(truth) = number(label).filter(|number| number.is_finite()) else {
                    return Err(refuse(format!(
                        "expected a number as the label, found `{}`: the model predicts numbers",
                        short(label)
                    )));
                };
                Pairs::Numbers(vec![(f64::from(*predicted), truth)])
            }
            (Prediction::Number(_), Cell::List(_)) => {
                return Err(refuse(
                    "expected a number as the label, found a list".into(),
                ));
            }
            (Prediction::Tags { tags, .. }, Cell::List(truth)) => {
                if tags.len() != truth.len() {
                    return Err(refuse(format!(
                        "{} words and {} tags, expected one tag for each word",
                        tags.len(),
                        truth.len()
                    )));
                }
                // As in the training, words that were cut off do not count.
                let both = tags.iter().zip(truth);
                let both = both.filter_map(|(tag, truth)| Some(((*tag)?, place(truth))));
                Pairs::Tags(vec![both.unzip()])
            }
            (Prediction::Tags { .. }, Cell::Text(_)) => {
                return Err(refuse("expected a list of tags, one for each word".into()));
            }
            (Prediction::Answer(_), _) => return Ok(()),
        };
        self.labelled += 1;
        self.pairs.extend(pairs);
        Ok(())
    }

    pub fn summary(&self) -> Summary {
        let metrics = match self.problem {
            Problem::Language => Vec::new(),
            problem => problem.metrics(self.labels),
        };
        let score = |metric: Metric| (metric, metric.score(&self.pairs, self.labels, f64::NAN));
        let has_labels = self.labelled > 0;
        Summary {
            rows: self.rows,
            labelled: self.labelled,
            scores: metrics
                .into_iter()
                .filter(|_| has_labels)
                .map(score)
                .collect(),
        }
    }
}
