//! What waits for the model.

use super::queue::Queue;
use super::text_jobs::TextJob;
use super::worker::Job;
use crate::embedding::Embedded;
use crate::predict::Prediction;

/// A text, or a pair of texts.
pub(super) type Pair = (String, Option<String>);

/// What waits for the model.
pub(super) enum Jobs {
    Answers(Queue<Job>),
    Embeddings {
        queue: Queue<TextJob<String, Embedded>>,
        /// Numbers of a vector.
        width: usize,
    },
    Classes {
        queue: Queue<TextJob<Pair, Vec<Prediction>>>,
        labels: Vec<String>,
        takes_pairs: bool,
    },
}

impl Jobs {
    pub fn len(&self) -> usize {
        match self {
            Self::Answers(queue) => queue.len(),
            Self::Embeddings { queue, .. } => queue.len(),
            Self::Classes { queue, .. } => queue.len(),
        }
    }

    pub fn close(&self) {
        match self {
            Self::Answers(queue) => queue.close(),
            Self::Embeddings { queue, .. } => queue.close(),
            Self::Classes { queue, .. } => queue.close(),
        }
    }
}
