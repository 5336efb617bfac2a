//! Models with what is trained of them, for `burn::train` learners.

mod adapter;
mod causal;
mod encoder_sizes;
mod export;
mod folder;
mod head;
mod image;
mod image_backbone;
mod judged;
mod mlp;
mod outcome;
mod seq2seq;
mod text;

use std::path::Path;

use burn::module::ModuleDisplay;
use burn::train::{InferenceStep, TrainStep};

pub use adapter::Trained;
pub(crate) use adapter::{kind_of_folder, prompt_of};
pub use causal::CausalLm;
pub(crate) use encoder_sizes::EncoderSizes;
pub use export::Destination;
pub(crate) use export::{COPIED, HEAD, README, described, load_head, write_card};
pub use folder::{architecture, normalization};
pub use image::ImageClassifier;
pub use image_backbone::Backbone;
pub use judged::Judged;
pub use mlp::Mlp;
pub use outcome::{Answered, Outcome};
pub use seq2seq::Seq2Seq;
pub(crate) use text::mean;
pub use text::{HeadPlan, MeanEncoder, TextBackbone, TextModel};

use crate::error::Error;

/// A model that can be fine-tuned.
pub trait FineTune:
    Judged
    + ModuleDisplay
    + TrainStep<Input = Self::Batch, Output = Outcome>
    + InferenceStep<Input = Self::Batch, Output = Outcome>
{
    /// Write what was trained: a PEFT folder `adapter`, or a Hugging Face folder `model`.
    ///
    /// # Errors
    ///
    /// [`Error::Adapter`], [`Error::Write`], and [`Error::Model`] and [`Error::Read`] for files of the pretrained
    /// model that are copied.
    fn save(&self, to: &Destination<'_>) -> Result<(), Error>;

    /// Take the parameters that [`save`](Self::save) wrote of a model that was trained in full.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if they are not there, damaged, or those of another model.
    fn load_full(self, folder: &Path) -> Result<Self, Error>;

    /// Path of the layer that makes the logits; there is no such layer where embeddings make them.
    fn head(&self) -> String;
}

/// The result of a step whose input was made for the model: lengths, tokens and sizes of pictures
/// are checked before a run begins.
///
/// # Panics
///
/// Panics with the model's own words if that went wrong.
fn fits<T>(result: Result<T, burn_hf_models::Error>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("a batch does not fit the model: {error}"),
    }
}
