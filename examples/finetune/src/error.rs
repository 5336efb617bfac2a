//! What can go wrong, and which exit code it gets.

use std::path::{Path, PathBuf};

use programs::printing::short;

use crate::data;

/// Errors of the program.
///
/// [`exit_code`](Self::exit_code) is 2 for a refused start and 1 for a run that did not end well.
///
/// ```
/// use finetune::Error;
///
/// let error = Error::config("training.batch", 0, "at least 1");
/// assert_eq!(error.to_string(), "`training.batch` is 0, expected at least 1");
/// assert_eq!(error.exit_code(), 2);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of range, or does not go with another one.
    #[error("`{field}` is {found}, expected {expected}")]
    Config {
        /// Its place in the configuration.
        field: String,
        /// Its value.
        found: String,
        /// What fits.
        expected: String,
    },

    /// A configuration file is damaged or has a field that nobody knows.
    #[error("{}: {problem}", path.display())]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// The device.
    #[error(transparent)]
    Device(#[from] programs::DeviceError),

    /// A device of another machine.
    #[error(transparent)]
    Worker(#[from] programs::WorkerError),

    /// The data.
    #[error("data: {0}")]
    Data(#[from] data::Error),

    /// The model folder.
    #[error("model: {0}")]
    Model(#[from] burn_hf_models::Error),

    /// The adapter.
    #[error("adapter: {0}")]
    Adapter(#[from] burn_peft::Error),

    /// An option of the natural-gradient methods.
    #[error("method: {0}")]
    Method(#[from] burn_ief::Error),

    /// A panic before a run began.
    #[error("{what}: {panic}")]
    Panic {
        /// What was to be done.
        what: String,
        /// What went wrong.
        panic: programs::guard::Panic,
    },

    /// A run folder holds something else than the run that was asked for.
    #[error("{}: {problem}", path.display())]
    RunFolder {
        /// The folder or the file in it.
        path: PathBuf,
        /// What is there, and what to do about it.
        problem: String,
    },

    /// Another process writes into the folder of the runs.
    #[error(transparent)]
    Locked(programs::lock::LockError),

    /// A prompt leaves no room for an answer.
    #[error(
        "the prompt has {tokens} tokens, expected at most {most}: shorten it, or use a model for longer texts"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// How many there may be for a token to fit behind them.
        most: usize,
    },

    /// A file could not be read.
    #[error("cannot read {}: {problem}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },

    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] programs::WriteError),

    /// The server could not go on.
    #[error("server: {0}")]
    Serve(String),

    /// A run came to nothing.
    #[error("{run} stopped: {reason}")]
    Stopped {
        /// Which run.
        run: String,
        /// Why.
        reason: String,
    },

    /// The user broke a run off, or something outside did; it can go on.
    #[error("{run} interrupted: {reason}")]
    Interrupted {
        /// Which run.
        run: String,
        /// What is kept, and how to go on.
        reason: String,
    },
}

impl Error {
    /// A setting that does not fit.
    pub fn config(
        field: impl Into<String>,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Config {
            field: field.into(),
            found: short(&found.to_string()),
            expected: expected.into(),
        }
    }

    pub(crate) fn write(path: &Path, problem: impl ToString) -> Self {
        programs::WriteError::new(path, problem).into()
    }

    pub(crate) fn read(path: &Path, problem: impl ToString) -> Self {
        Self::Read {
            path: path.into(),
            problem: problem.to_string(),
        }
    }

    /// 1 for runs that broke off and files that could not be written; 2 for everything that was
    /// refused before a run began. Errors of a run that has begun are [`Stopped`](Self::Stopped) or
    /// [`Interrupted`](Self::Interrupted), whatever their cause.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stopped { .. } | Self::Interrupted { .. } | Self::Write(_) | Self::Serve(_) => 1,
            _ => 2,
        }
    }
}
