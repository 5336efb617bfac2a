//! Rows of data sets.

use super::label::Label;

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
    /// What would be right; classes and sets are indices into [`Splits::labels`](super::Splits::labels).
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
    /// Indices into [`Splits::labels`](super::Splits::labels), one for each word.
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
    /// Index into [`Splits::labels`](super::Splits::labels).
    pub label: usize,
}
