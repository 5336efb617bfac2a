//! What can be wrong with data.

use std::path::{Path, PathBuf};

/// Errors of reading, splitting and batching data.
///
/// ```
/// use finetune::data::{Error, DataSource, Task};
///
/// let error = Task::Trec.load(&DataSource::new("no/such/folder")).unwrap_err();
/// assert!(matches!(error, Error::Missing { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file or folder.
    #[error("{}: not found; expected {expected}", path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// What the task reads.
        expected: String,
    },

    /// A file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A line of a text file is not as it should be.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong, what was expected, what was found.
        problem: String,
    },

    /// A row of a Parquet file is not as it should be.
    #[error("{}, row {row}: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        row: u64,
        /// What is wrong, what was expected, what was found.
        problem: String,
    },

    /// A chat template cannot be used.
    #[error("chat template {name}: {problem}")]
    Template {
        /// Where it is from.
        name: String,
        /// What is wrong, what was expected, what was found.
        problem: String,
    },

    /// A file as a whole is not as it should be.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, what was expected, what was found.
        problem: String,
    },

    /// An option does not fit the data.
    #[error("option `{option}`: expected {expected}, found {found}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What fits.
        expected: String,
        /// What was given.
        found: String,
    },

    /// A text cannot be turned into tokens.
    #[error("text {index} ({text:?}): {problem}")]
    Tokens {
        /// Which of the texts, from 0.
        index: usize,
        /// Its beginning.
        text: String,
        /// Why.
        problem: String,
    },
}

impl Error {
    pub(crate) fn missing(path: &Path, expected: impl Into<String>) -> Self {
        Self::Missing {
            path: path.into(),
            expected: expected.into(),
        }
    }

    pub(crate) fn line(path: &Path, line: u64, problem: impl Into<String>) -> Self {
        Self::Line {
            path: path.into(),
            line,
            problem: problem.into(),
        }
    }

    pub(crate) fn row(path: &Path, row: u64, problem: impl Into<String>) -> Self {
        Self::Row {
            path: path.into(),
            row,
            problem: problem.into(),
        }
    }

    pub(crate) fn template(name: &str, problem: impl Into<String>) -> Self {
        Self::Template {
            name: name.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            problem: problem.into(),
        }
    }

    pub(crate) fn option(
        option: &'static str,
        expected: impl Into<String>,
        found: impl ToString,
    ) -> Self {
        Self::Option {
            option,
            expected: expected.into(),
            found: found.to_string(),
        }
    }

    /// What a failed read of `path` means: missing, or another reason.
    pub(crate) fn read(path: &Path, source: std::io::Error, expected: &str) -> Self {
        match source.kind() {
            std::io::ErrorKind::NotFound => Self::missing(path, expected),
            _ => Self::Read {
                path: path.into(),
                source,
            },
        }
    }
}
