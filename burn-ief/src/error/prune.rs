//! The errors of pruning.

/// Why a model cannot be pruned; part of [`Error::Prune`](super::Error::Prune).
///
/// ```
/// use burn_ief::Error;
/// use burn_ief::error::PruneError;
///
/// let error = Error::from(PruneError::NothingToPrune);
/// assert!(error.to_string().starts_with("there is nothing to prune"));
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    /// No parameter of the module is to be pruned.
    #[error(
        "there is nothing to prune: no parameter of the module is in the group, or (without a \
         group) no matrix of it requires a gradient"
    )]
    NothingToPrune,

    /// A sparsity mask was made for another module.
    #[error(
        "the mask covers {expected}, the module has {found} in its place: it belongs to another \
         module, or to one that is wrapped in another way"
    )]
    ForeignMask {
        /// The parameter that the mask covers, with its shape.
        expected: String,
        /// What the module has at its path.
        found: String,
    },

    /// A parameter is to be pruned by its gradients, and the Jacobian has none of it.
    #[error(
        "`{parameter}` is to be pruned, but there are no per-sample gradients of it: it is frozen, \
         or outside the group of the recording; leave it out with `SparsityMask::group`"
    )]
    NoRows {
        /// Path of the parameter in the module.
        parameter: String,
    },

    /// A weight to be pruned, or what its removal costs, is NaN or infinite.
    #[error(
        "{what} of `{parameter}` are NaN or infinite: check that the weights of the model are \
         finite, and raise the damping of the Fisher matrix"
    )]
    NonFiniteWeights {
        /// Which quantity.
        what: &'static str,
        /// Path of the parameter in the module.
        parameter: String,
    },
}
