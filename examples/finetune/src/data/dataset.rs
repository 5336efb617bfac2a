//! Data sets of every kind.

use super::example::{ImageExample, TextExample, TokenExample};
use super::splits::{LeftOut, Splits};
use crate::conversation::Conversations;

/// What [`Task::load`](super::Task::load) gives.
///
/// ```
/// use finetune::data::{Dataset, Splits};
///
/// let dataset = Dataset::Text(Splits::default());
/// assert!(dataset.labels().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Dataset {
    /// Texts or pairs of texts.
    Text(Splits<TextExample>),
    /// Words with tags.
    Tokens(Splits<TokenExample>),
    /// Pictures.
    Image(Splits<ImageExample>),
    /// Conversations, or texts to go on with.
    Language(Box<Conversations>),
}

impl Dataset {
    /// Names of the classes, labels or tags.
    pub fn labels(&self) -> &[String] {
        match self {
            Self::Text(splits) => &splits.labels,
            Self::Tokens(splits) => &splits.labels,
            Self::Image(splits) => &splits.labels,
            Self::Language(found) => &found.splits.labels,
        }
    }

    /// Rows for training, validation and test.
    pub fn sizes(&self) -> [usize; 3] {
        fn sizes<E>(splits: &Splits<E>) -> [usize; 3] {
            [&splits.train, &splits.valid, &splits.test].map(Vec::len)
        }
        match self {
            Self::Text(splits) => sizes(splits),
            Self::Tokens(splits) => sizes(splits),
            Self::Image(splits) => sizes(splits),
            Self::Language(found) => sizes(&found.splits),
        }
    }

    /// Rows of the files that are in no part.
    pub fn left_out(&self) -> &LeftOut {
        match self {
            Self::Text(splits) => &splits.left_out,
            Self::Tokens(splits) => &splits.left_out,
            Self::Image(splits) => &splits.left_out,
            Self::Language(found) => &found.splits.left_out,
        }
    }
}
