//! The sections of a configuration.

use std::path::PathBuf;

use programs::Floats;
use serde::{Deserialize, Serialize};

use crate::conversation::{ControlTokens, TrainOn};
use crate::data::{DataSource, TaggedPieces};

/// A family of models.
///
/// ```
/// use finetune::config::Architecture;
///
/// let name = serde_json::to_string(&Architecture::Dinov2)?;
/// assert_eq!(name, "\"dinov2\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// BERT, MiniLM, RoBERTa, DistilBERT and ModernBERT, with a head.
    Bert,
    /// T5, text to text.
    T5,
    /// ViT, with a classification head.
    Vit,
    /// DINOv2, with a classification head.
    Dinov2,
    /// Language models that go on with a text: Llama, Qwen2 and the like.
    Causal,
    /// 3072-2048-2048-10 and the like, from scratch.
    Mlp,
}

/// What becomes of BERT's token vectors.
///
/// ```
/// use finetune::config::{Config, Pooling};
///
/// assert_eq!(Config::default().pooling(), Pooling::Pooler);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The first token through BERT's pooler, as `BertForSequenceClassification`.
    Pooler,
    /// The mean over the tokens of the text, without padding and virtual tokens. No class of `transformers` has it.
    Mean,
}

/// The pretrained model.
///
/// ```
/// let model = finetune::config::ModelOptions::default();
/// assert!(model.folder.is_none() && !model.dropout);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelOptions {
    /// A Hugging Face folder; without one, the MLP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Its family; by default that of `model_type` in its `config.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<Architecture>,
    /// Sentence vectors of BERT; otherwise as [`Config::pooling`](super::Config::pooling) says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Whether the model's own dropout is on in training. Off, as in the configurations that were
    /// released with the paper.
    pub dropout: bool,
    /// Widths of the hidden layers of the MLP.
    pub hidden: Vec<usize>,
    /// Floats of a language model's frozen weights, and of what they compute; adapters stay in 32 bits.
    pub dtype: Floats,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            folder: None,
            architecture: None,
            pooling: None,
            dropout: false,
            hidden: vec![2048, 2048],
            dtype: Floats::F32,
        }
    }
}

/// The data.
///
/// ```
/// let data = finetune::config::DataOptions::default();
/// assert_eq!((data.valid_share, data.max_length), (0.1, None));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataOptions {
    /// The folder, or the file of a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Seed of the split; the same for all runs.
    pub split_seed: u64,
    /// Rows for training, otherwise all that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_rows: Option<usize>,
    /// Rows for validation, otherwise the share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_rows: Option<usize>,
    /// Rows for the test, otherwise the share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_rows: Option<usize>,
    /// Share of the rows for validation, where the data has no part for it.
    pub valid_share: f64,
    /// Share of the rows for the test, where the data has no part for it.
    pub test_share: f64,
    /// Column of the text in a table.
    pub text_column: String,
    /// Column of the second text of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_column: Option<String>,
    /// Column of the label, or of a list of them or of tags.
    pub label_column: String,
    /// Columns of 0 and 1, one for each label, of several labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label_columns: Vec<String>,
    /// What is between labels in a text, of several labels.
    pub label_separator: String,
    /// Whether numbers are learned as deviations from their mean over the training rows, in units of their standard
    /// deviation. What is written gives numbers of the data either way.
    pub standardize: bool,
    /// Which tokens of a word have its tag.
    pub tagged_pieces: TaggedPieces,
    /// Whether quotation marks quote fields of a table, otherwise between commas but not between tabs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotes: Option<bool>,
    /// The classes in their order, otherwise sorted; classes that are numbers must be named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Longest text in tokens; longer ones are cut. Otherwise as [`Config::max_length`](super::Config::max_length)
    /// says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Names of columns of conversations, `COLUMN=NAME`, such as `prompt=question`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// What of a conversation is trained.
    pub train_on: TrainOn,
    /// What becomes of control tokens in texts.
    pub control_tokens: ControlTokens,
    /// The chat template by name, where the model has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The time that a chat template prints which prints one, in seconds since 1970-01-01 00:00 UTC. It does not pass,
    /// so that a run can go on and be repeated.
    pub template_time: i64,
    /// Side of the pictures in pixels; otherwise the model's own (CIFAR for the MLP: 32).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<usize>,
}

impl Default for DataOptions {
    fn default() -> Self {
        let options = DataSource::new("");
        Self {
            folder: None,
            split_seed: options.seed,
            train_rows: None,
            valid_rows: None,
            test_rows: None,
            valid_share: options.valid_share,
            test_share: options.test_share,
            text_column: options.text_column,
            second_column: None,
            label_column: options.label_column,
            label_columns: Vec::new(),
            label_separator: options.label_separator,
            standardize: true,
            tagged_pieces: TaggedPieces::default(),
            quotes: options.quotes,
            labels: Vec::new(),
            max_length: None,
            columns: Vec::new(),
            train_on: TrainOn::default(),
            control_tokens: ControlTokens::default(),
            template: None,
            // The date that Llama 3's template prints without a clock: 26 July 2024.
            template_time: 1_721_952_000,
            image_size: None,
        }
    }
}

/// The run.
///
/// ```
/// let training = finetune::config::TrainingOptions::default();
/// assert_eq!(training.batch, 32);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingOptions {
    /// Rows of a batch.
    pub batch: usize,
    /// Batches of a step: a step has the rows of all of them.
    pub accumulation: usize,
    /// Rows of a batch in validation and test.
    pub eval_batch: usize,
    /// Passes over the training rows.
    pub epochs: usize,
    /// Steps of the run, in place of epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<usize>,
    /// Evaluate after every so many steps, in place of every epoch: all that is said of epochs, but for schedules, is
    /// then about these rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_steps: Option<usize>,
    /// Scale the gradient down to this norm, over all parameters, before a step of a first-order optimizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Recompute activations of cheap operations in the backward pass in place of keeping them.
    pub gradient_checkpointing: bool,
    /// Stop after as many epochs without a better validation result; 0 for never.
    pub patience: usize,
    /// Keep the parameters after every epoch, in finished runs too.
    pub keep_checkpoints: bool,
    /// Write events for TensorBoard into the run's folder.
    pub tensorboard: bool,
    /// Test rows to whose questions a trained language model writes its answers.
    pub eval_generate: usize,
    /// Tokens of such an answer at most.
    pub max_new_tokens: usize,
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            batch: 32,
            accumulation: 1,
            eval_batch: 64,
            epochs: 3,
            max_steps: None,
            eval_steps: None,
            clip_norm: None,
            gradient_checkpointing: false,
            patience: 0,
            keep_checkpoints: false,
            tensorboard: false,
            eval_generate: 0,
            max_new_tokens: 256,
        }
    }
}
