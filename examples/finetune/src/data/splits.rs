//! A data set in three parts, and what is in none of them.

use std::fmt;

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
