//! What can go wrong.

/// Errors of the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A method or its evaluation failed.
    #[error("{what}: {source}")]
    Method {
        /// What was computed.
        what: String,
        /// Why it failed.
        source: burn_ief::Error,
    },

    /// The device.
    #[error(transparent)]
    Device(#[from] programs::DeviceError),

    /// The digits or their model.
    #[error(transparent)]
    Digits(#[from] quickstart::Error),

    /// A run of `finetune`, its data or its model.
    #[error("run: {0}")]
    Run(#[from] finetune::Error),

    /// The toy problems are computed in f64.
    #[error(
        "the toy problems need f64, which this device does not have: choose another --device, or \
         pictures without them by --only"
    )]
    NoF64,

    /// An option that cannot be followed.
    #[error("{option} is {found}: expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it could have been.
        expected: String,
    },

    /// The state of an optimizer.
    #[error("{what}: the state of the optimizer: {source}")]
    State {
        /// Where.
        what: String,
        /// Why it cannot be read or written.
        source: burn::store::RecordError,
    },

    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] programs::WriteError),
}

impl Error {
    /// A method failed on what is named.
    pub(crate) fn method(what: impl Into<String>) -> impl FnOnce(burn_ief::Error) -> Self {
        let what = what.into();
        move |source| Self::Method { what, source }
    }
}
