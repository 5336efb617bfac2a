//! What can go wrong.

/// Errors of the programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device.
    #[error(transparent)]
    Device(#[from] programs::DeviceError),

    /// The embedded images are damaged.
    #[error("the embedded digits, line {line}: {problem}")]
    Data {
        /// Line of the file.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },

    /// The pretrained model does not fit.
    #[error("the pretrained model: {0}")]
    Checkpoint(#[from] burn::store::RecordError),

    /// A training run stopped before its end.
    #[error("{run} stopped: {reason}")]
    Stopped {
        /// Which run.
        run: String,
        /// Why.
        reason: String,
    },

    /// A method has settings out of range, or pruning failed.
    #[error(transparent)]
    Method(#[from] burn_ief::Error),

    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] programs::WriteError),
}

impl Error {
    /// A run stopped before its end.
    pub fn stopped(run: &str, reason: impl ToString) -> Self {
        Self::Stopped {
            run: run.into(),
            reason: reason.to_string(),
        }
    }
}
