//! What a model says about texts, for one request after the other.

use burn::tensor::Device;
use burn_hf_models::class::Task;
use burn_peft::AdapterFolder;
use serde_json::Map;

use super::columns::{Item, Row};
use super::{
    Predict, PredictOptions, Prediction, architecture_of, labels, of_texts, problem_of, refuse_nan,
};
use crate::class_labels::class_of;
use crate::config::Architecture;
use crate::data::Task as DataTask;
use crate::error::Error;
use crate::model::HEAD;
use crate::problem::Problem;
use crate::target::Target;

/// A model of texts that was trained: for a class, labels, a number, or a tag for each word.
///
/// ```no_run
/// use burn::tensor::Device;
/// use finetune::predict::{Classifier, PredictOptions};
/// use finetune::target::Target;
///
/// let target = Target::of("runs/ief-seed1".as_ref(), None)?;
/// let classifier = Classifier::open(&target, &PredictOptions::default(), &Device::flex())?;
/// let found = classifier.classify(&[("Where is the Louvre?".into(), None)])?;
/// println!("{:?} of {:?}", found[0], classifier.labels());
/// # Ok::<(), finetune::Error>(())
/// ```
pub struct Classifier {
    labels: Vec<String>,
    problem: Problem,
    takes_pairs: bool,
    predictor: Box<dyn Predict>,
}

impl Classifier {
    /// Load it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a model that does not classify texts; [`Error::Model`], [`Error::Adapter`] and
    /// [`Error::Read`] for its files.
    pub fn open(target: &Target, options: &PredictOptions, device: &Device) -> Result<Self, Error> {
        let kind = architecture_of(target)?;
        if !matches!(kind, Architecture::Bert | Architecture::T5) {
            let expected = "a classifier of texts";
            return Err(Error::config("model", target.base.display(), expected));
        }
        let labels = labels(target)?;
        let problem = problem_of(target, kind)?;
        let predictor = of_texts(kind, target, (problem, &labels), options, device)?;
        Ok(Self {
            labels,
            problem,
            takes_pairs: takes_pairs(target)?,
            predictor,
        })
    }

    /// Whether a folder holds a classifier of texts: a run that trained one, an adapter with a head, or a model of such a
    /// class.
    ///
    /// # Errors
    ///
    /// [`Error::Model`], [`Error::Adapter`] and [`Error::Read`] for its files.
    pub fn is_in(target: &Target) -> Result<bool, Error> {
        match architecture_of(target)? {
            Architecture::T5 => Ok(target.run.is_some()),
            Architecture::Bert if target.run.is_some() => Ok(true),
            Architecture::Bert if target.folder().join(HEAD).is_file() => Ok(true),
            Architecture::Bert => {
                let adapter = target.adapter.as_deref().map(AdapterFolder::read);
                let class = class_of(&target.base, adapter.transpose()?.as_ref())?;
                let task = class.task();
                Ok(matches!(
                    task,
                    Task::SequenceClassification | Task::TokenClassification
                ))
            }
            _ => Ok(false),
        }
    }

    /// What it says about a text.
    pub fn problem(&self) -> Problem {
        self.problem
    }

    /// Names of the classes, labels or tags.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Whether it was trained on pairs of texts.
    pub fn takes_pairs(&self) -> bool {
        self.takes_pairs
    }

    /// What it says about each text, or pair of texts. Where words are given tags, they are what is between spaces.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a text that cannot be turned into tokens, [`Error::Read`] for a model that computes NaN.
    pub fn classify(&self, texts: &[(String, Option<String>)]) -> Result<Vec<Prediction>, Error> {
        let rows = texts.iter().enumerate().map(|(at, (first, second))| Row {
            line: at as u64 + 1,
            fields: Map::new(),
            item: if self.problem == Problem::Tokens {
                Item::Words(first.split_whitespace().map(String::from).collect())
            } else {
                Item::Text {
                    first: first.clone(),
                    second: second.clone(),
                }
            },
            label: None,
        });
        let rows: Vec<Row> = rows.collect();
        let predictions = self.predictor.predict(&rows)?;
        let checked = predictions.into_iter().zip(&rows).map(|(found, row)| {
            refuse_nan(&found, row, "the classifier".as_ref())?;
            Ok(found)
        });
        checked.collect()
    }
}

/// Whether a run was trained on pairs.
fn takes_pairs(target: &Target) -> Result<bool, Error> {
    let Some(run) = &target.run else {
        return Ok(false);
    };
    let of_task = matches!(
        run.task()?,
        DataTask::Mrpc
            | DataTask::Qqp
            | DataTask::Mnli
            | DataTask::MnliMismatched
            | DataTask::Qnli
            | DataTask::Rte
    );
    Ok(of_task || run.data.second_column.is_some())
}
