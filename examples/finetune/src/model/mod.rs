//! Models with what is trained of them, for `burn::train` learners.

mod adapter;
mod causal;
mod export;
mod folder;
mod head;
mod image;
mod judged;
mod mlp;
mod seq2seq;
mod text;

use std::path::Path;

use burn::module::{Module, ModuleDisplay};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{ExecutionError, Int, Tensor, TensorData};
use burn::train::metric::{AccuracyInput, Adaptor, LossInput};
use burn::train::{InferenceStep, ItemLazy, TrainOutput, TrainStep};
use burn_ief::train::train_output;
use programs::learner::WithLoss;

pub use adapter::Trained;
pub(crate) use adapter::{kind_of_folder, prompt_of};
pub use causal::CausalLm;
pub use export::Destination;
pub(crate) use export::{COPIED, HEAD, README, described, load_head, write_card};
pub use folder::{architecture, normalization};
pub use image::{Backbone, ImageClassifier};
pub use judged::Judged;
pub use mlp::Mlp;
pub use seq2seq::Seq2Seq;
pub use text::TextClassifier;
pub(crate) use text::mean;

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

/// What a model makes of a batch of M samples.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use finetune::model::Outcome;
///
/// let logits = Tensor::<2>::from_data([[2.0, 0.0], [3.0, 1.0]], &Device::flex());
/// let labels = Tensor::<1, Int>::from_data([0, 1], &Device::flex());
/// let outcome = Outcome::classified(logits, labels);
/// assert_eq!(outcome.pairs(), [(0, 0), (0, 1)]);
/// ```
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Mean of the losses of samples, or of tokens in language models, `[1]`.
    pub loss: Tensor<1>,
    /// What was predicted.
    pub answered: Answered,
}

/// What a model predicted, and what would have been right.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each batch, and it does not live long"
)]
pub enum Answered {
    /// A class for each sample.
    Classes {
        /// Predicted classes, `[M]`; absent in the training of models that answer in words.
        predicted: Option<Tensor<1, Int>>,
        /// True classes, `[M]`.
        labels: Tensor<1, Int>,
    },
    /// The next token at every trained token.
    Tokens {
        /// Right predictions of each sample, `[M]`.
        correct: Tensor<1>,
        /// Trained tokens of the batch.
        tokens: usize,
    },
}

impl Outcome {
    /// Cross-entropy and prediction of logits `[M, C]`, both marked for the natural-gradient
    /// methods.
    pub fn classified(logits: Tensor<2>, labels: Tensor<1, Int>) -> Self {
        let logits = burn_ief::mark_output(logits);
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = cross_entropy.forward(logits.clone(), labels.clone());
        let predicted = logits.without_autodiff().argmax(1).squeeze_dim(1);
        Self {
            loss: burn_ief::mark_loss(loss),
            answered: Answered::Classes {
                predicted: Some(predicted),
                labels,
            },
        }
    }

    /// `(predicted, true)` of each sample; none where nothing was predicted. Of each token `(1, 1)` where it was
    /// predicted, and otherwise `(0, 1)`.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        match &self.answered {
            Answered::Classes {
                predicted: Some(predicted),
                labels,
            } => {
                let [predicted, labels] = [predicted, labels].map(|classes| {
                    let classes = classes.clone().into_data().try_into_vec_as::<i64>();
                    let classes = classes.unwrap_or_default().into_iter();
                    classes.map(|class| class as usize)
                });
                predicted.zip(labels).collect()
            }
            Answered::Classes {
                predicted: None, ..
            } => Vec::new(),
            Answered::Tokens { correct, tokens } => {
                let correct = correct.clone().sum().into_scalar::<f32>().round() as usize;
                let wrong = tokens.saturating_sub(correct);
                let pairs = std::iter::repeat_n((1, 1), correct);
                pairs.chain(std::iter::repeat_n((0, 1), wrong)).collect()
            }
        }
    }

    /// What the loss is a mean over: samples, or tokens of language models.
    pub fn weight(&self) -> usize {
        match &self.answered {
            Answered::Classes { labels, .. } => {
                let [samples] = labels.dims();
                samples
            }
            Answered::Tokens { tokens, .. } => *tokens,
        }
    }

    /// The end of a training step.
    fn trained<M: Module>(self, module: &M) -> TrainOutput<Self> {
        let grads = self.loss.backward();
        train_output(module, grads, self)
    }
}

impl WithLoss for Outcome {
    fn loss(&self) -> Tensor<1> {
        self.loss.clone()
    }
}

impl ItemLazy for Outcome {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().flush()?;
        Ok(Self {
            loss: self.loss.without_autodiff(),
            answered: match self.answered {
                Answered::Classes { predicted, labels } => Answered::Classes {
                    predicted: predicted.map(Tensor::without_autodiff),
                    labels: labels.without_autodiff(),
                },
                Answered::Tokens { correct, tokens } => Answered::Tokens {
                    correct: correct.without_autodiff(),
                    tokens,
                },
            },
        })
    }
}

impl Adaptor<LossInput> for Outcome {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<AccuracyInput> for Outcome {
    fn adapt(&self) -> AccuracyInput {
        let (predicted, labels): (Tensor<1, Int>, Tensor<1, Int>) = match &self.answered {
            Answered::Classes { predicted, labels } => {
                let predicted = predicted.clone().unwrap_or_else(|| labels.clone());
                (predicted, labels.clone())
            }
            Answered::Tokens { .. } => {
                let pairs = self.pairs();
                let column = |of: fn(&(usize, usize)) -> usize| {
                    let values: Vec<i64> = pairs.iter().map(|pair| of(pair) as i64).collect();
                    Tensor::from_data(TensorData::new(values, [pairs.len()]), &self.loss.device())
                };
                (column(|pair| pair.0), column(|pair| pair.1))
            }
        };
        // The metric looks for the largest entry of each row.
        let classes = predicted.clone().max().into_scalar::<i64>() as usize + 1;
        let rows: Tensor<2, Int> = predicted.one_hot(classes.max(2));
        AccuracyInput::new(rows.float(), labels)
    }
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
