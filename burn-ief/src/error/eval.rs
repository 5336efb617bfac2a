//! The errors of judging directions.

use super::Listed;

/// Why a direction cannot be judged; part of [`Error::Eval`](super::Error::Eval).
///
/// ```
/// use burn_ief::Error;
/// use burn_ief::error::EvalError;
///
/// let error = Error::from(EvalError::ZeroSlope);
/// assert!(error.to_string().contains("does not change along the direction"));
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A direction or gradient to be judged holds NaN or infinity.
    #[error("the {what} holds NaN or infinity at {}", Listed(parameters))]
    NonFiniteDirection {
        /// Which: the direction or the gradient.
        what: &'static str,
        /// Paths of the parameters in the module.
        parameters: Vec<String>,
    },

    /// A direction or gradient to be judged has entries that the module does not train.
    #[error(
        "the {what} has {entries} entries, of which {matched} are trainable parameters of this \
         module: pass the module that it was formed with"
    )]
    ForeignDirection {
        /// Which: the direction or the gradient.
        what: &'static str,
        /// Entries that it has.
        entries: usize,
        /// Entries that belong to trainable parameters of the module.
        matched: usize,
    },

    /// The loss does not change along a direction, so its quality is not defined.
    #[error(
        "the loss does not change along the direction: its inner product with the gradient is \
         zero, and the quality of the direction is not defined"
    )]
    ZeroSlope,
}
