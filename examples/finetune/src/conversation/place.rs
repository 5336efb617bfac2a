//! Where a sample is in its file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::data::Error;

/// What a file counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Line,
    Row,
}

/// A line of a text file, or a row of a Parquet file.
///
/// ```
/// use std::path::Path;
/// use finetune::conversation::Place;
///
/// let place = Place::line(Path::new("chats.jsonl").into(), 3);
/// assert_eq!(place.to_string(), "chats.jsonl, line 3");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    path: Arc<Path>,
    number: u64,
    unit: Unit,
}

impl Place {
    /// A line, counted from 1.
    pub fn line(path: Arc<Path>, number: u64) -> Self {
        Self {
            path,
            number,
            unit: Unit::Line,
        }
    }

    /// A row, counted from 1.
    pub fn row(path: Arc<Path>, number: u64) -> Self {
        Self {
            path,
            number,
            unit: Unit::Row,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the line or row, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What is wrong here.
    pub(super) fn error(&self, problem: impl Into<String>) -> Error {
        match self.unit {
            Unit::Line => Error::line(&self.path, self.number, problem),
            Unit::Row => Error::row(&self.path, self.number, problem),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Line => "line",
            Unit::Row => "row",
        };
        write!(f, "{}, {unit} {}", self.path.display(), self.number)
    }
}
