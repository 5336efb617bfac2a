//! What a server answers with.

use super::Shared;
use super::embeddings::{self, EmbedJob};
use super::queue::Queue;
use super::worker::{self, Job};
use crate::embedding::TextEncoder;
use crate::language::Language;

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
            Self::Encoder { name, .. } => vec![(name.clone(), None)],
        }
    }

    /// Tokens of the longest text.
    pub(super) fn context(&self) -> Option<usize> {
        match self {
            Self::Language(language) => language.context(),
            Self::Encoder { encoder, .. } => Some(encoder.longest()),
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
                embeddings::work(encoder, queue);
            }
            _ => unreachable!("the queue is made for the model"),
        }
    }
}

/// What waits for the model.
pub(super) enum Jobs {
    Answers(Queue<Job>),
    Embeddings {
        queue: Queue<EmbedJob>,
        /// Numbers of a vector.
        width: usize,
    },
}

impl Jobs {
    pub fn len(&self) -> usize {
        match self {
            Self::Answers(queue) => queue.len(),
            Self::Embeddings { queue, .. } => queue.len(),
        }
    }

    pub fn close(&self) {
        match self {
            Self::Answers(queue) => queue.close(),
            Self::Embeddings { queue, .. } => queue.close(),
        }
    }
}
