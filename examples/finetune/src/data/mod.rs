//! Data sets as their files are, split and batched.
//!
//! [`Task::load`] reads the files of a task into [`Splits`] of rows with a [`Label`]; [`TextBatcher`], [`Seq2SeqBatcher`]
//! and [`ImageBatcher`] make tensors of them, in the batches of a `burn_ief::train::EpochLoader`.

mod cifar;
mod error;
mod foreign;
mod glue;
mod images;
mod label;
pub(crate) mod lines;
mod pictures;
mod questions;
mod reviews;
mod scale;
mod seq2seq;
mod sms;
mod source;
pub(crate) mod split;
mod table;
mod tagged;
mod task;
mod template;
mod texts;
mod tokens;

pub use error::Error;
pub(crate) use foreign::recognised;
pub(crate) use images::{is_picture, picture};
pub(crate) use label::NO_TAG;
pub use label::{Label, LabelBatch};
pub use pictures::{ImageBatch, ImageBatcher};
pub use scale::NumberScale;
pub use seq2seq::{Seq2SeqBatch, Seq2SeqBatcher, Seq2SeqItem};
pub use source::DataSource;
pub(crate) use table::{Cell, Marks, Object, label_set, number};
pub(crate) use tagged::{Sentence, sentences};
pub use task::Task;
pub(crate) use template::question;
pub use texts::{TaggedPieces, TextBatch, TextBatcher, TextItem};
pub use tokens::{Encoded, Tokens, load_tokenizer};
pub(crate) use tokens::{Table, gguf};

use std::fmt;

use crate::conversation::Conversations;

/// One text, or a pair of texts, and its label.
///
/// ```
/// use finetune::data::TextExample;
///
/// let example = TextExample::new("Who killed Gandhi ?", 3);
/// assert_eq!((example.second, example.label.class()), (None, Some(3)));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TextExample {
    /// The text, or the first of a pair.
    pub first: String,
    /// The second of a pair.
    pub second: Option<String>,
    /// What would be right; classes and sets are indices into [`Splits::labels`].
    pub label: Label,
}

impl TextExample {
    /// A single text of a class.
    pub fn new(text: impl Into<String>, class: usize) -> Self {
        Self::labelled(text, Label::Class(class))
    }

    /// A single text with a label of any kind.
    pub fn labelled(text: impl Into<String>, label: Label) -> Self {
        Self {
            first: text.into(),
            second: None,
            label,
        }
    }

    /// Add the second text of a pair.
    pub fn with_second(self, second: impl Into<String>) -> Self {
        Self {
            second: Some(second.into()),
            ..self
        }
    }
}

/// The words of a text, and the tag of each.
///
/// ```
/// use finetune::data::TokenExample;
///
/// let words = ["Bach", "was", "born"].map(String::from).to_vec();
/// let example = TokenExample { words, tags: vec![1, 0, 0] };
/// assert_eq!(example.words.len(), example.tags.len());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TokenExample {
    /// Words, as the data set splits them.
    pub words: Vec<String>,
    /// Indices into [`Splits::labels`], one for each word.
    pub tags: Vec<usize>,
}

/// One picture and its class.
///
/// ```
/// use finetune::data::ImageExample;
///
/// let grey = ImageExample { pixels: vec![128; 2 * 4 * 3], height: 2, width: 4, label: 0 };
/// assert_eq!(grey.pixels.len(), grey.height * grey.width * 3);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageExample {
    /// Height × width × 3 values: by rows, red, green and blue of a pixel side by side.
    pub pixels: Vec<u8>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Index into [`Splits::labels`].
    pub label: usize,
}

/// A data set in three parts.
///
/// No text or picture is in two of the parts.
///
/// ```
/// use finetune::data::{Splits, TextExample};
///
/// let splits = Splits {
///     train: vec![TextExample::new("good", 1), TextExample::new("bad", 0)],
///     labels: vec!["negative".into(), "positive".into()],
///     ..Splits::default()
/// };
/// assert!(splits.valid.is_empty() && splits.test.is_empty());
/// assert_eq!(splits.left_out.to_string(), "nothing was left out");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits<E> {
    /// What a model is trained on.
    pub train: Vec<E>,
    /// What step sizes and stopping are chosen on.
    pub valid: Vec<E>,
    /// What the result is measured on, once.
    pub test: Vec<E>,
    /// Names of the classes, labels or tags; of numbers, what they are.
    pub labels: Vec<String>,
    /// Rows of the files that are in no part.
    pub left_out: LeftOut,
}

impl<E> Default for Splits<E> {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            valid: Vec::new(),
            test: Vec::new(),
            labels: Vec::new(),
            left_out: LeftOut::default(),
        }
    }
}

/// Rows of the files that are in no part of [`Splits`], for a note to the user.
///
/// ```
/// use finetune::data::LeftOut;
///
/// let left_out = LeftOut { duplicates: 3, ..LeftOut::default() };
/// assert_eq!(left_out.to_string(), "left out: 3 duplicates");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Rows without text.
    pub empty: usize,
    /// Where the first row without text is: `FILE, line N`.
    pub first_empty: Option<String>,
    /// Rows whose text or picture an earlier row has, or the test set.
    pub duplicates: usize,
    /// Duplicates whose label differs from that of the row that was kept.
    pub contradictions: usize,
    /// Rows that lack columns or a label in a published file that is known for them.
    pub malformed: usize,
    /// Rows that the task itself excludes (sentiment near 0).
    pub undecided: usize,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let empty = match &self.first_empty {
            Some(place) => format!("rows without text (the first: {place})"),
            None => "rows without text".into(),
        };
        let duplicates = match self.contradictions {
            0 => "duplicates".into(),
            some => format!("duplicates ({some} of them with another label)"),
        };
        let parts = [
            (self.empty, empty),
            (self.duplicates, duplicates),
            (self.malformed, "malformed rows".into()),
            (self.undecided, "undecided rows".into()),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if parts.is_empty() {
            write!(f, "nothing was left out")
        } else {
            write!(f, "left out: {}", parts.join(", "))
        }
    }
}

/// What [`Task::load`] gives.
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
