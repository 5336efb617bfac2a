//! What can go wrong.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use programs::WriteError;
use programs::lock::LockError;

/// Why the program, or a run, stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Data of a task are missing, or are not what the task needs.
    #[error(
        "task `{task}`: {problem}; `scripts/fetch-data --out DIR {folders}` makes the folders for `--data DIR`"
    )]
    Data {
        /// The task.
        task: &'static str,
        /// What is wrong.
        problem: String,
        /// Names in `scripts/fetch-data`.
        folders: String,
    },
    /// A name that is not in the list.
    #[error("unknown {what} `{found}`: expected one of {expected}")]
    Name {
        /// Task or optimizer.
        what: &'static str,
        /// All names.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The settings of an optimizer do not fit.
    #[error("optimizer `{optimizer}`: {problem}")]
    Settings {
        /// The optimizer.
        optimizer: String,
        /// What is wrong.
        problem: String,
    },
    /// A step failed for a reason that another step size would not change.
    #[error("{run}: {problem}")]
    Stopped {
        /// Task, optimizer and seed.
        run: String,
        /// What happened.
        problem: String,
    },
    /// A file of results cannot be read.
    #[error("{}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// A page has no place for the tables.
    #[error(
        "{}: expected the lines `{begin}` and `{end}`, in this order and once each; the tables go between them",
        path.display()
    )]
    Page {
        /// The page.
        path: PathBuf,
        /// The line before the tables.
        begin: &'static str,
        /// The line behind them.
        end: &'static str,
    },
    /// Runs failed. Their messages were printed when they did.
    #[error("{count} run(s) failed, the first is {first}; all others are recorded")]
    Failed {
        /// How many.
        count: usize,
        /// Which, and why.
        first: String,
    },
    /// A child process could not be started.
    #[error("cannot start a run: {0}")]
    Child(std::io::Error),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Another process writes results.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Error {
    pub(crate) fn data(task: &'static str, folders: &[&str], problem: impl Display) -> Self {
        Self::Data {
            task,
            problem: problem.to_string(),
            folders: folders.join(" "),
        }
    }

    pub(crate) fn settings(optimizer: &str, problem: impl Display) -> Self {
        Self::Settings {
            optimizer: optimizer.into(),
            problem: problem.to_string(),
        }
    }

    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read {
            path: path.into(),
            source,
        }
    }
}
