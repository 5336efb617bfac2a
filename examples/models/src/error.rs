//! What can go wrong with a model folder.

use std::path::PathBuf;

/// A model folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A JSON file does not have the expected content.
    #[error("{path}: {reason}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A field of `config.json` holds a value that is not supported.
    #[error("config field `{field}` is {value}: {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is supported.
        expected: String,
    },
    /// A weights file is damaged.
    #[error("{path}: {reason}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Tensors of the model that no file of the folder holds.
    #[error("{path} lacks {}", names.join(", "))]
    Missing {
        /// The folder.
        path: PathBuf,
        /// Their names there.
        names: Vec<String>,
    },
    /// Tensors in a folder that the model has no place for.
    #[error("{path} holds {}, which the model does not have", names.join(", "))]
    Unexpected {
        /// The folder.
        path: PathBuf,
        /// Their names there.
        names: Vec<String>,
    },
    /// A tensor of another shape than the configuration gives it.
    #[error("{path}: `{name}` has the shape {found:?}, expected {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Its name there.
        name: String,
        /// Shape by the configuration, in the file's layout.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// An input that the model cannot take.
    #[error("input `{name}`: {reason}")]
    Input {
        /// Name of the argument.
        name: &'static str,
        /// What is wrong, expected and found.
        reason: String,
    },
}
