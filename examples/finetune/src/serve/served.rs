//! What a server answers with.

use super::jobs::{Jobs, Pair};
use super::queue::Queue;
use super::shared::Shared;
use super::{text_jobs, worker};
use crate::embedding::TextEncoder;
use crate::language::Language;
use crate::predict::Classifier;

/// A model for a server.
#[non_exhaustive]
pub enum Served {
    /// A language model, with adapters.
    Language(Box<Language>),
    /// An encoder of texts.
    Encoder {
        /// What it is called.
        name: String,
        /// The encoder.
        encoder: Box<TextEncoder>,
    },
    /// A classifier of texts.
    Classifier {
        /// What it is called.
        name: String,
        /// The classifier.
        classifier: Box<Classifier>,
    },
}

impl From<Language> for Served {
    fn from(language: Language) -> Self {
        Self::Language(Box::new(language))
    }
}

impl Served {
    /// An encoder by this name.
    pub fn encoder(name: impl Into<String>, encoder: TextEncoder) -> Self {
        Self::Encoder {
            name: name.into(),
            encoder: Box::new(encoder),
        }
    }

    /// A classifier by this name.
    pub fn classifier(name: impl Into<String>, classifier: Classifier) -> Self {
        Self::Classifier {
            name: name.into(),
            classifier: Box::new(classifier),
        }
    }

    /// Names and chat templates.
    pub(super) fn models(&self) -> Vec<(String, Option<String>)> {
        match self {
            Self::Language(language) => {
                let named = |name: &str| {
                    let template = language.template(name).map(String::from);
                    (name.to_string(), template)
                };
                language.names().map(named).collect()
            }
            Self::Encoder { name, .. } | Self::Classifier { name, .. } => {
                vec![(name.clone(), None)]
            }
        }
    }

    /// Tokens of the longest text.
    pub(super) fn context(&self) -> Option<usize> {
        match self {
            Self::Language(language) => language.context(),
            Self::Encoder { encoder, .. } => Some(encoder.longest()),
            // Longer texts are cut, as in the training.
            Self::Classifier { .. } => None,
        }
    }

    /// A queue for what it can do.
    pub(super) fn jobs(&self, most: usize) -> Jobs {
        match self {
            Self::Language(_) => Jobs::Answers(Queue::new(most)),
            Self::Encoder { encoder, .. } => Jobs::Embeddings {
                queue: Queue::new(most),
                width: encoder.width(),
            },
            Self::Classifier { classifier, .. } => Jobs::Classes {
                queue: Queue::new(most),
                labels: classifier.labels().to_vec(),
                takes_pairs: classifier.takes_pairs(),
            },
        }
    }

    /// Answer what is in the queue until it is closed.
    pub(super) fn work(&self, shared: &Shared) {
        match (self, &shared.jobs) {
            (Self::Language(language), Jobs::Answers(queue)) => {
                let (metrics, at_once) = (&shared.metrics, shared.settings.at_once);
                worker::work(language, queue, metrics, &shared.cut, at_once);
            }
            (Self::Encoder { encoder, .. }, Jobs::Embeddings { queue, .. }) => {
                text_jobs::work(queue, |texts: &[String]| encoder.embed(texts));
            }
            (Self::Classifier { classifier, .. }, Jobs::Classes { queue, .. }) => {
                text_jobs::work(queue, |texts: &[Pair]| classifier.classify(texts));
            }
            _ => unreachable!("the queue is made for the model"),
        }
    }
}
