//! What can go wrong with a model folder.

use std::path::{Path, PathBuf};

use crate::message::{dims, list, lost_head, middle_cut, place, short};
use crate::place::config_file;

/// A model folder that cannot be used.
///
/// Messages have at most about 1,500 characters next to the paths in them: long values are cut, and of long lists
/// the first names are shown. The fields hold all of it.
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
    /// A file is something else than its name says: a Git LFS pointer, a web page, an empty file.
    #[error("{path} is {found}: {fix}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
        /// What to do.
        fix: &'static str,
    },
    /// A JSON file does not have the expected content.
    #[error("{path}: {}", middle_cut(reason))]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the field, line and column.
        reason: String,
    },
    /// A field of `config.json` holds a value that is not supported.
    #[error(
        "{} `{field}`: expected {expected}, found {}",
        place(path),
        short(value)
    )]
    Config {
        /// The file, if the configuration is from one.
        path: Option<PathBuf>,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is supported.
        expected: String,
    },
    /// A weights file is damaged.
    #[error("{path}: {}", middle_cut(reason))]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Tensors of the model that no file of the folder holds.
    #[error("{path} lacks {}{}", list(names), lost_head(names))]
    Missing {
        /// The folder.
        path: PathBuf,
        /// Their names there.
        names: Vec<String>,
    },
    /// Tensors in a folder that the model has no place for.
    #[error("{path} holds {}, which the model does not have", list(names))]
    Unexpected {
        /// The folder.
        path: PathBuf,
        /// Their names there.
        names: Vec<String>,
    },
    /// Two tensors of a folder that are one parameter of the model hold different values.
    #[error(
        "{path}: `{}` and `{}` hold different values, but they are one parameter of the model: {fix}",
        short(name),
        short(copy)
    )]
    Different {
        /// The folder.
        path: PathBuf,
        /// The name of one.
        name: String,
        /// The name of the other.
        copy: String,
        /// What to do.
        fix: &'static str,
    },
    /// A tensor of another shape than the configuration gives it.
    #[error(
        "{path}: `{}`: expected the shape {}, found {}",
        short(name),
        dims(expected),
        dims(found)
    )]
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
    /// A tensor of a folder holds NaN or infinity.
    #[error(
        "{path}: `{}` holds NaN or infinity (as {dtype}): the file is damaged, or was saved after a training that \
         diverged",
        short(name)
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Its name there.
        name: String,
        /// The float type that the values were read to.
        dtype: String,
    },
    /// A parameter that no file provides would take more memory than a new head can need.
    #[error(
        "{path}: no file holds `{}`, and a new one of the shape {} takes {estimate}: expected at most {most}",
        short(name),
        dims(shape)
    )]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// Its shape by the configuration.
        shape: Vec<usize>,
        /// Memory that it takes.
        estimate: String,
        /// Memory that new parameters may take.
        most: String,
    },
    /// The folder's configuration, the adapter and the wanted task do not name one class of models.
    #[error("{reason}")]
    Class {
        /// What they say, and what to do.
        reason: String,
    },
    /// A model or an adapter that a GGUF file cannot hold.
    #[error("{reason}")]
    Gguf {
        /// What cannot be in such a file, and what to do.
        reason: String,
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

impl Error {
    /// Say which file a configuration is from.
    pub(crate) fn in_config(self, folder: &Path) -> Self {
        match self {
            Self::Config {
                path: None,
                field,
                value,
                expected,
            } => Self::Config {
                path: Some(config_file(folder)),
                field,
                value,
                expected,
            },
            other => other,
        }
    }
}
