//! The errors a caller of this crate can meet.
//!
//! Every variant says what happened, where (the parameter's path in the module, or the sample),
//! what was expected and found, and how to fix it.

mod eval;
mod prune;

use std::fmt;

pub use eval::EvalError;
pub use prune::PruneError;

/// What can go wrong between starting a [`Tape`](crate::Tape) and receiving an update.
///
/// Recording calls themselves never fail: the first error poisons the tape and is returned by
/// [`RecordedBatch::collect`](crate::jacobian::RecordedBatch::collect), and so by every step of an
/// optimizer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A second recording was started on the thread while one was in progress.
    #[error(
        "a recording is already in progress on this thread: step with the first tape \
         (or drop it) before you start the next one"
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

    /// A batch without samples.
    #[error(
        "the batch has no samples (axis 0 has size 0): skip empty batches, which filters and random \
         sampling can produce"
    )]
    EmptyBatch,

    /// A label, or an index into a table, is out of range.
    #[error("{what} is {found}, expected a number from 0 to {}", size - 1)]
    IndexRange {
        /// What it is an index of.
        what: String,
        /// Entries of the table, or classes.
        size: usize,
        /// The index.
        found: i64,
    },

    /// Trainable parameters were used by calls that are not recorded.
    #[error(
        "{} trainable parameter(s) were used outside the recording: {}. Call the recorded form of \
         the layer (`forward_recorded`, `expand_param`), freeze the parameter, or leave it to \
         another optimizer with `StepOptions::with_group` and `with_rest`",
        parameters.len(), Listed(parameters)
    )]
    UnrecordedUse {
        /// Paths of the parameters in the module.
        parameters: Vec<String>,
    },

    /// Batch normalisation in training mode couples the samples of a batch.
    #[error(
        "`{module}` is a BatchNorm in training mode, and this step trains it or layers in front of it, \
         or takes one sample at a time: it couples the samples of a batch, so these have no per-sample \
         gradients. Freeze its statistics (`burn_ief::nn::freeze_statistics`), train only what comes \
         after it (`StepOptions::with_group`), or replace it by GroupNorm or LayerNorm"
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

    /// A recording with sampled labels does not know which scalar is the loss.
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

    /// A method that needs every label was used with a loss over tokens.
    #[error(
        "this method goes through every label of an output, which a loss over tokens \
         (`token_cross_entropy`) does not do: use `sf`, which draws labels, or `ief` or `ef`"
    )]
    EnumeratedTokens,

    /// A `TrainStep` under `NaturalModel` returned plain gradients.
    #[error(
        "the model's `TrainStep::step` returned plain gradients: end it with \
         `burn_ief::train::train_output(self, grads, item)` instead of `TrainOutput::new`"
    )]
    PlainTrainStep,

    /// Replicas of a model step by themselves.
    #[error(
        "two threads took the same training step with clones of one `NaturalModel`: the `ddp` strategy, \
         in which every device steps by itself, is not supported; use `burn_ief::train::DataParallel`, and \
         wrap the model anew for each training"
    )]
    SeparateReplicas,

    /// Nothing trainable was recorded.
    #[error(
        "the recording holds no trainable parameter of this module: call the layers' recorded \
         forms while the tape is alive, on a module that requires gradients"
    )]
    NothingRecorded,

    /// There is no trainable parameter to differentiate with respect to.
    #[error(
        "no trainable parameter of the module (or of the group) takes part in its outputs: put \
         the module on an autodiff device, do not freeze all of its parameters, or choose \
         another group"
    )]
    NothingTrainable,

    /// Two modules hold one trainable parameter.
    #[error(
        "`{first}` and `{second}` are one parameter (the same id), and a step would move them apart, \
         because Burn's optimizers update each holder by itself: keep the parameter in one module and \
         use it twice (`unembed` for a tied output head), or freeze it"
    )]
    SharedParameter {
        /// Path of the first holder.
        first: String,
        /// Path of the second.
        second: String,
    },

    /// A recorded parameter does not belong to the module that was passed.
    #[error(
        "recorded parameter {id} is not a parameter of the module: pass the module whose calls were recorded"
    )]
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
    #[error("configuration field `{field}`: expected {expected}, found {value}")]
    Config {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },

    /// What a method keeps between steps was made for other parameters or another method.
    #[error(
        "the {state} does not belong to this model and method: expected {expected}, found {found}; \
         make the optimizer with `init(&model)`, and load records of the same model, parameter group \
         and configuration"
    )]
    ForeignState {
        /// Which state.
        state: &'static str,
        /// What this model and method need.
        expected: String,
        /// What the state holds.
        found: String,
    },

    /// A name is not one of a list.
    #[error("unknown {what}: expected one of {expected}, found `{found}`")]
    UnknownName {
        /// What it should name.
        what: &'static str,
        /// The known names.
        expected: String,
        /// The name that was found.
        found: String,
    },

    /// A record of an optimizer cannot be read or does not fit.
    #[error("the record of the optimizer cannot be loaded: {reason}")]
    Record {
        /// Burn's description of the cause.
        reason: String,
    },

    /// An update is NaN or infinite.
    #[error(
        "the update holds NaN or infinity: lower the step size, raise the damping, or bound the step \
         with `trust_region` (exact methods) or `kl_clip` (K-FAC family)"
    )]
    NonFiniteUpdate,

    /// A rule solved for the parameters where the coefficients of rows were asked for.
    #[error(
        "the update is not a combination of rows: there are no more parameters than drawn rows, and \
         the rule solved for the parameters; match on `Solution::Parameters`"
    )]
    NoCoefficients,

    /// A method cannot work from one backward pass per sample.
    #[error(
        "`step_by_sample` gives gradients alone, and this method needs the inputs and output errors of \
         the layers as well: call `forward_recorded` in the model and use `step`, or use one of the \
         methods `ief`, `ef`, `sf`, `ngd`, `ggt`"
    )]
    BySample,

    /// A step was asked for while accumulated batches wait for theirs.
    #[error(
        "{count} accumulated batch(es) wait for `step_accumulated`: call it first; they were measured \
         at the weights before this step"
    )]
    PendingBatches {
        /// Number of accumulated batches.
        count: usize,
    },

    /// A step was asked for before any batch was accumulated.
    #[error(
        "there is nothing to step with: call `accumulate` for each batch before `step_accumulated`"
    )]
    NothingAccumulated,

    /// A device failed: its server ended, its driver reported an error, or work on it panicked.
    #[error(
        "the device {device} failed: {reason}. The model is that of the last complete step; resume from \
         the latest checkpoint, without this device or in a new process"
    )]
    Device {
        /// The device.
        device: String,
        /// What Burn reported.
        reason: String,
    },

    /// A device did not answer in time.
    #[error(
        "the device {device} did not answer within {seconds} s (`Exchange::deadline`). The model is that \
         of the last complete step; resume from the latest checkpoint, without this device or in a new \
         process"
    )]
    Deadline {
        /// The device.
        device: String,
        /// The deadline in seconds.
        seconds: f64,
    },

    /// A shard was measured at other weights than those of the step.
    #[error(
        "a shard of step {measured} cannot be part of step {step}: measure all shards of a step after the \
         step before it, and step with them once"
    )]
    StaleShard {
        /// The step that is to be taken.
        step: u64,
        /// The step that the shard was measured for.
        measured: u64,
    },

    /// One of several shards of a step failed.
    #[error("shard {shard} of the step, on {device}: {source}")]
    Shard {
        /// Its number, in the order of the shards.
        shard: usize,
        /// The device that it was on.
        device: String,
        /// What failed. Samples are counted in the whole batch.
        source: Box<Error>,
    },

    /// An eigendecomposition did not converge.
    #[error("the {size} x {size} eigendecomposition did not converge")]
    Eigen {
        /// Number of rows of the matrix.
        size: usize,
    },

    /// A matrix that a Cholesky factorisation needs is not positive definite.
    #[error("{what} ({size} x {size}) is not positive definite in f64: {fix}")]
    NotPositiveDefinite {
        /// Which matrix.
        what: &'static str,
        /// Number of rows of the matrix.
        size: usize,
        /// What to change.
        fix: &'static str,
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

    /// Pruning is not possible.
    #[error(transparent)]
    Prune(#[from] PruneError),

    /// A direction cannot be judged.
    #[error(transparent)]
    Eval(#[from] EvalError),

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

impl Error {
    /// A record that cannot be read, with the cause.
    pub(crate) fn record(cause: impl fmt::Display) -> Self {
        Self::Record {
            reason: cause.to_string(),
        }
    }

    /// A configuration field that is out of its range.
    ///
    /// `expected` completes the sentence "expected …, found `value`".
    ///
    /// ```
    /// use burn_ief::Error;
    ///
    /// let error = Error::config("draws", 0, "at least 1");
    /// let text = "configuration field `draws`: expected at least 1, found 0";
    /// assert_eq!(error.to_string(), text);
    /// ```
    pub fn config(field: &'static str, value: impl fmt::Display, expected: &'static str) -> Self {
        Self::Config {
            field,
            value: value.to_string(),
            expected,
        }
    }
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
    fn unrecorded_use_names_paths_and_the_fix() {
        let error = Error::UnrecordedUse {
            parameters: vec!["head.weight".into(), "head.bias".into()],
        };
        let text = error.to_string();
        assert!(text.starts_with("2 trainable parameter(s)"), "{text}");
        assert!(text.contains("head.weight, head.bias"), "{text}");
        assert!(text.contains("forward_recorded"), "{text}");
    }
}
