//! Classes of texts, for one request after the other.

use burn::tensor::Device;
use burn_hf_models::class::Task;
use burn_peft::AdapterFolder;
use serde_json::Map;

use super::columns::{Item, Row};
use super::{Predict, PredictOptions, Prediction, architecture_of, labels, of_texts, refuse_nan};
use crate::class_labels::class_of;
use crate::config::Architecture;
use crate::data::Task as DataTask;
use crate::error::Error;
use crate::model::HEAD;
use crate::target::Target;

/// A classifier of texts that was trained.
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
        let predictor = of_texts(kind, target, &labels, options, device)?;
        Ok(Self {
            labels,
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
                Ok(class.task() == Task::SequenceClassification)
            }
            _ => Ok(false),
        }
    }

    /// Names of the classes.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Whether it was trained on pairs of texts.
    pub fn takes_pairs(&self) -> bool {
        self.takes_pairs
    }

    /// The probability of each class for each text, or pair of texts.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a text that cannot be turned into tokens, [`Error::Read`] for a model that computes NaN.
    pub fn classify(&self, texts: &[(String, Option<String>)]) -> Result<Vec<Vec<f32>>, Error> {
        let rows = texts.iter().enumerate().map(|(at, (first, second))| Row {
            line: at as u64 + 1,
            fields: Map::new(),
            item: Item::Text {
                first: first.clone(),
                second: second.clone(),
            },
            label: None,
        });
        let rows: Vec<Row> = rows.collect();
        let predictions = self.predictor.predict(&rows)?;
        let classes = predictions.into_iter().zip(&rows).map(|(found, row)| {
            refuse_nan(&found, row, "the classifier".as_ref())?;
            match found {
                Prediction::Classes(classes) => Ok(classes),
                Prediction::Answer(_) => unreachable!("a classifier gives classes"),
            }
        });
        classes.collect()
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
