//! Recording a forward pass, so that the gradient of each sample can be formed after `backward`.
//!
//! A [`Tape`] records on one thread. While it is alive, the recorded calls of [`nn`](crate::nn)
//! keep, for every trainable parameter that they use, what is needed to form its gradient sample by
//! sample. The parameter itself stays off the autodiff graph, so `backward` does not also compute
//! its gradient for the whole batch. Without a tape, the same calls are Burn's own.
//!
//! - [`Tape`] starts and ends a recording.
//! - [`mark_output`], [`mark_labels`], [`mark_loss`] and [`expand_input`] mark tensors in the forward pass.
//! - [`LossScale`] says how the scalar loss relates to the losses of the samples.
//! - [`LabelDraw`] adds copies of the batch whose labels are drawn from the model.
//! - [`Recorder`] is what a layer uses to record itself.

mod labels;
mod marks;
mod output_errors;
mod recorder;
mod tape;
mod token_marks;

pub use labels::{LabelDraw, Likelihood};
pub(crate) use labels::{draw_categorical, one_hot};
pub use marks::{
    declare_loss_scale, expand_input, mark_labels, mark_loss, mark_mean_loss, mark_output,
    mark_output_as,
};
pub use recorder::{Recorder, Tap, recorder};
pub use tape::{LossScale, Tape};

pub(crate) use output_errors::{DrawnTokens, OutputErrors, TokenErrors, TokenFacts, WholeErrors};
pub(crate) use recorder::{constant, is_composed, is_empty_batch, positioned, without_samples};
pub(crate) use tape::{IndexCheck, RecordedUse};
pub(crate) use token_marks::{Draws, Leaf};
