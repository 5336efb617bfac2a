//! What can go wrong in the program.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use programs::{DeviceError, WriteError};

/// Why the program stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Data are missing or are not what an example needs.
    #[error(
        "{path}: {problem}; `scripts/fetch-data --out DIR {folder}` makes this folder for `--data DIR`"
    )]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// The name of its folder in `scripts/fetch-data`.
        folder: &'static str,
    },
    /// An example needs a folder of data, and none was given.
    #[error(
        "example `{example}` needs data: fetch it with `scripts/fetch-data --out DIR {folders}` and pass `--data DIR`"
    )]
    NoData {
        /// The example.
        example: &'static str,
        /// What to fetch.
        folders: &'static str,
    },
    /// A training stopped.
    #[error("{run}: {problem}")]
    Stopped {
        /// Example and method.
        run: String,
        /// What happened.
        problem: String,
    },
    /// The device cannot be opened.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A result cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Error {
    pub(crate) fn data(path: &Path, folder: &'static str, problem: impl Display) -> Self {
        Self::Data {
            path: path.into(),
            problem: problem.to_string(),
            folder,
        }
    }
}
