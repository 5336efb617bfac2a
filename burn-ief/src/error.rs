//! The errors a caller of this crate can meet.
//!
//! Every variant says what happened, where (the parameter's path in the module, or the sample),
//! what was expected and found, and how to mend it.

use std::fmt;

/// What can go wrong between starting a [`Tape`](crate::Tape) and receiving an update.
///
/// Recording calls themselves never fail: the first error poisons the tape and comes out of
/// [`Jacobian::from_tape`](crate::jacobian::Jacobian::from_tape), and so out of every optimizer's
/// `gradients`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A second recording was started on the thread while one was in progress.
    #[error(
        "a recording is already in progress on this thread: pass the first tape to `gradients` \
         (or drop it) before the next one is started"
    )]
    NestedRecording,

    /// A recorded call saw another number of samples on axis 0 than the calls before it.
    #[error(
        "parameter `{parameter}` was used with {found} samples on axis 0, but this recording has \
         {expected}: keep the batch on axis 0 of every recorded call (do not fold it into the \
         sequence), and look up indices that all samples share with `embed_shared`"
    )]
    BatchMismatch {
        /// Path of the parameter in the module, or its id where no module was walked.
        parameter: String,
        /// Samples seen so far in this recording.
        expected: usize,
        /// Samples of the offending call.
        found: usize,
    },

    /// Trainable parameters were used by calls that are not recorded.
    #[error(
        "{} trainable parameter(s) were used outside the recording: {}. Call the recorded form of \
         the layer (`forward_recorded`, `expand_param`), freeze the parameter, or leave it to \
         another optimizer with `with_group`",
        parameters.len(), Listed(parameters)
    )]
    UnrecordedUse {
        /// Paths of the parameters in the module.
        parameters: Vec<String>,
    },

    /// Batch normalisation in training mode couples the samples of a batch.
    #[error(
        "`{module}` is a BatchNorm in training mode: it couples the samples of a batch, so there \
         is no per-sample gradient. Freeze it (`freeze_group`) to use its running statistics, or \
         replace it by GroupNorm or LayerNorm"
    )]
    BatchNorm {
        /// Path of the layer in the module.
        module: String,
    },

    /// The declared loss scale is not the one that the output gradients show.
    #[error(
        "the loss is scaled by {found:.6e} per sample, but the recording declares {declared:.6e}: \
         declare it with `LossScale` (`Mean` divides by the batch size; token means and class \
         weights need `Factor`), or pass per-sample losses through `mark_mean_loss`"
    )]
    LossScale {
        /// The scale that the recording declares.
        declared: f64,
        /// The scale that softmax cross-entropy at the marked output shows.
        found: f64,
    },

    /// The update needs the gradient at the model's output, and no output was marked.
    #[error(
        "no output was marked in this recording: pass the logits through `burn_ief::mark_output` \
         between the model and the loss"
    )]
    NoOutput,

    /// A recording with sampled labels was not told which scalar is the loss.
    #[error(
        "this recording draws labels from the model, but its loss was not marked: pass the scalar \
         loss through `burn_ief::mark_loss` (or the per-sample losses through `burn_ief::mark_mean_loss`) \
         before `backward`"
    )]
    NoLoss,

    /// The recording carries no copies with sampled labels, which the update needs.
    #[error(
        "this update needs labels drawn from the model: start the recording with the optimizer's \
         own `start`"
    )]
    NoSampledLabels,

    /// A `TrainStep` under `Natural` returned plain gradients.
    #[error(
        "the model's `TrainStep::step` returned plain gradients: end it with \
         `burn_ief::train::train_output(self, grads, item)` instead of `TrainOutput::new`"
    )]
    PlainTrainStep,

    /// Nothing trainable was recorded.
    #[error(
        "the recording holds no trainable parameter of this module: call the layers' recorded \
         forms while the tape is alive, on a module that requires gradients"
    )]
    NothingRecorded,

    /// A recorded parameter does not belong to the module that was passed.
    #[error("recorded parameter {id} is not a parameter of the module passed to `gradients`")]
    ForeignParameter {
        /// The parameter's id.
        id: String,
    },

    /// A rule produced rows that do not fit its parameter.
    #[error("the per-sample rows of `{parameter}` have shape {found}, expected {expected}")]
    RowShape {
        /// Path of the parameter in the module.
        parameter: String,
        /// The expected shape.
        expected: String,
        /// The shape that was found.
        found: String,
    },

    /// Per-sample gradients or output gradients hold NaN or infinity.
    #[error("{what} of sample(s) {} are NaN or infinite", Listed(samples))]
    NonFinite {
        /// Which quantity.
        what: &'static str,
        /// Index of each such sample on the batch axis.
        samples: Vec<usize>,
    },

    /// Two operands disagree in size.
    #[error("{what}: expected {expected}, found {found}")]
    Size {
        /// Which quantity.
        what: &'static str,
        /// The expected size.
        expected: usize,
        /// The size that was found.
        found: usize,
    },

    /// A configuration field is out of its range.
    #[error("configuration field `{field}` is {value}: {expected}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },

    /// The method keeps its previous update, and was called without it.
    #[error(
        "`solve_momentum` needs the update of the previous step: make a place for it with \
         `new_state` before the loop and call `gradients_with` (or `step_with`), or train through \
         `burn_ief::train::Natural`"
    )]
    NoState,

    /// What a method keeps between steps was made for other parameters.
    #[error(
        "the previous update holds {found} where this module trains {expected}: it belongs to \
         another module, parameter group or setting of trainable parameters; start again with \
         `new_state`"
    )]
    ForeignState {
        /// The first parameter that differs, with its shape, or that there is none.
        expected: String,
        /// What is kept in its place.
        found: String,
    },

    /// An eigendecomposition did not converge.
    #[error("the {size} x {size} eigendecomposition did not converge")]
    Eigen {
        /// Number of rows of the matrix.
        size: usize,
    },

    /// The Kronecker factors or the update of a layer hold NaN or infinity.
    #[error(
        "{what} of `{parameter}` hold NaN or infinity: lower the step size, raise the damping, or \
         bound the step with `kl_clip`"
    )]
    Curvature {
        /// Which quantity.
        what: &'static str,
        /// Path of the parameter in the module.
        parameter: String,
    },

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

    /// The loss does not change along a direction, so its quality is not defined.
    #[error(
        "the loss does not change along the direction: its inner product with the gradient is \
         zero, and the quality of the direction is not defined"
    )]
    ZeroSlope,

    /// Recorded and sample-by-sample gradients disagree.
    #[error(
        "recorded and sample-by-sample gradients of `{parameter}` differ by {difference:.3e} \
         relative to its largest row (allowed {tolerance:.1e}), worst at sample {sample}: a call \
         couples samples, a custom rule is wrong, or the forward pass is random (disable dropout)"
    )]
    Validation {
        /// Path of the parameter in the module.
        parameter: String,
        /// The sample with the largest difference.
        sample: usize,
        /// Largest difference, relative to the largest row norm.
        difference: f64,
        /// The allowed difference.
        tolerance: f64,
    },
}

/// Comma-separated, cut after eight entries.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        for (i, entry) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{entry}", if i == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            rest => write!(f, " and {rest} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let error = Error::NonFinite {
            what: "per-sample gradients",
            samples: (0..11).collect(),
        };
        assert_eq!(
            error.to_string(),
            "per-sample gradients of sample(s) 0, 1, 2, 3, 4, 5, 6, 7 and 3 more are NaN or infinite"
        );
    }

    #[test]
    fn unrecorded_use_names_paths_and_the_mend() {
        let error = Error::UnrecordedUse {
            parameters: vec!["head.weight".into(), "head.bias".into()],
        };
        let text = error.to_string();
        assert!(text.starts_with("2 trainable parameter(s)"), "{text}");
        assert!(text.contains("head.weight, head.bias"), "{text}");
        assert!(text.contains("forward_recorded"), "{text}");
    }
}
