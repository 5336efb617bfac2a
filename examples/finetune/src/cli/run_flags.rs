//! Flags of a run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use programs::optimizer::OptimizerName;
use programs::{DeviceKind, DeviceName, Floats};

use super::adapter_flags::AdapterFlags;
use super::method_flags::MethodFlags;
use crate::config::{AdapterKind, Architecture, Config, Pooling, layered, read};
use crate::conversation::{ControlTokens, TrainOn};
use crate::data::{TaggedPieces, Task};
use crate::error::Error;
use crate::experiment::Flags;
use crate::preset::Preset;
use crate::tune;

/// Flags of a run; those that are not given leave the preset and the file as they are.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// Settings by name.
    #[arg(long, value_enum)]
    pub preset: Option<Preset>,
    /// A TOML or JSON file with settings (--write-config shows all of them).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the settings in effect as TOML, and run nothing.
    #[arg(long)]
    pub write_config: bool,

    /// What is learned.
    #[arg(long, value_enum)]
    task: Option<Task>,
    /// Hugging Face folder of the pretrained model, or GGUF file of a language model.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Folder (or file) of the data.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the runs.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What reports call the setup.
    #[arg(long)]
    name: Option<String>,
    /// Where to compute.
    #[arg(long, value_enum)]
    device: Option<DeviceKind>,
    /// Devices that share every batch, separated by commas: `cuda,cuda:1`. The first holds the model.
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "device"
    )]
    pub devices: Vec<DeviceName>,
    /// Devices of other machines that share every batch too: `ws://HOST:PORT` of the program `worker`, separated by
    /// commas. Their token is that of BURN_WORKER_TOKEN.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub workers: Vec<String>,
    /// Optimizers, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    method: Vec<OptimizerName>,
    /// Seeds, separated by commas; one run for each method and seed.
    #[arg(long, value_delimiter = ',')]
    seed: Vec<u64>,

    /// Go on with runs that were interrupted.
    #[arg(long, help_heading = "Runs")]
    resume: bool,
    /// Start runs again that are there already.
    #[arg(long, help_heading = "Runs", conflicts_with = "resume")]
    force: bool,
    /// Lines instead of the full screen, in a terminal too.
    #[arg(long, help_heading = "Runs")]
    plain: bool,
    /// Keep the parameters after every epoch, in finished runs too.
    #[arg(long, help_heading = "Runs")]
    keep_checkpoints: bool,
    /// Search step sizes on the validation rows instead, with as many runs for every method; writes
    /// OUT/tuned.toml for --config.
    #[arg(long, help_heading = "Runs")]
    pub tune: bool,
    /// Factors on the step size that --tune tries.
    #[arg(long, help_heading = "Runs", value_delimiter = ',', default_values_t = tune::FACTORS)]
    pub tune_factors: Vec<f64>,
    /// Seed of --tune.
    #[arg(long, help_heading = "Runs", default_value_t = tune::SEED)]
    pub tune_seed: u64,

    /// What is trained in addition to the head.
    #[arg(long, help_heading = "Model", value_enum)]
    adapter: Option<AdapterKind>,
    /// Family of the model [default: by its config.json].
    #[arg(long, help_heading = "Model", value_enum)]
    architecture: Option<Architecture>,
    /// PEFT folder to go on from; its kind and settings count.
    #[arg(long, help_heading = "Model", value_name = "DIR")]
    adapter_from: Option<PathBuf>,
    #[command(flatten)]
    layers: AdapterFlags,
    /// Virtual tokens of a prompt.
    #[arg(long, help_heading = "Model")]
    virtual_tokens: Option<usize>,
    /// Width inside of the network of P-tuning [default: that of a token].
    #[arg(long, help_heading = "Model")]
    encoder_width: Option<usize>,
    /// Vector of a text that BERT's head takes [default: pooler; mean for a prompt].
    #[arg(long, help_heading = "Model", value_enum)]
    pooling: Option<Pooling>,
    /// Floats of a language model's frozen weights; adapters stay f32 [default: f32].
    #[arg(long, value_enum, value_name = "FLOATS")]
    dtype: Option<Floats>,
    /// The model's own dropout in training.
    #[arg(long, help_heading = "Model", value_enum)]
    dropout: Option<Switch>,
    /// Widths of the MLP's hidden layers.
    #[arg(long, help_heading = "Model", value_delimiter = ',')]
    hidden: Vec<usize>,

    /// Rows of a batch; without --gradient-accumulation, of a step.
    #[arg(long, help_heading = "Training")]
    batch: Option<usize>,
    /// Batches of a step: the update is that of one batch with the rows of all of them.
    #[arg(long, help_heading = "Training", value_name = "BATCHES")]
    gradient_accumulation: Option<usize>,
    /// Rows of a batch in validation and test.
    #[arg(long, help_heading = "Training")]
    eval_batch: Option<usize>,
    /// Passes over the training rows.
    #[arg(long, help_heading = "Training")]
    epochs: Option<usize>,
    /// Steps of the run, in place of --epochs.
    #[arg(long, help_heading = "Training", value_name = "STEPS")]
    max_steps: Option<usize>,
    /// Evaluate and keep a checkpoint after every so many steps, in place of every epoch.
    #[arg(long, help_heading = "Training", value_name = "STEPS")]
    eval_steps: Option<usize>,
    /// Test rows to whose questions the trained language model writes its answers: answers.jsonl in the run's folder,
    /// and the share of right ones (of numbers behind ####, as in GSM8K, or of equal texts).
    #[arg(long, help_heading = "Training", value_name = "ROWS")]
    eval_generate: Option<usize>,
    /// Tokens of such an answer at most [default: 256].
    #[arg(long, help_heading = "Training", value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Write events for TensorBoard into the run's folder.
    #[arg(long, help_heading = "Training")]
    tensorboard: bool,
    /// Recompute activations of cheap operations in the backward pass in place of keeping them.
    #[arg(long, help_heading = "Training")]
    gradient_checkpointing: bool,
    /// Scale the gradient of a first-order optimizer down to this norm, over all parameters.
    #[arg(long, help_heading = "Training", value_name = "NORM")]
    clip_norm: Option<f64>,
    /// Stop after as many epochs without a better validation result, 0 for never.
    #[arg(long, help_heading = "Training")]
    patience: Option<usize>,

    #[command(flatten)]
    methods: MethodFlags,

    /// Longest text in tokens [default: 1024 for language models, 128 for others].
    #[arg(long, help_heading = "Data")]
    max_length: Option<usize>,
    /// Side of the pictures in pixels.
    #[arg(long, help_heading = "Data")]
    image_size: Option<usize>,
    /// Rows for training [default: all that are left].
    #[arg(long, help_heading = "Data")]
    train_rows: Option<usize>,
    /// Rows for validation.
    #[arg(long, help_heading = "Data")]
    valid_rows: Option<usize>,
    /// Rows for the test.
    #[arg(long, help_heading = "Data")]
    test_rows: Option<usize>,
    /// Share of the rows for validation.
    #[arg(long, help_heading = "Data")]
    valid_share: Option<f64>,
    /// Share of the rows for the test.
    #[arg(long, help_heading = "Data")]
    test_share: Option<f64>,
    /// Seed of the split.
    #[arg(long, help_heading = "Data")]
    split_seed: Option<u64>,
    /// Column of the text, or of a list of words (csv, jsonl and the like).
    #[arg(long, help_heading = "Data")]
    text_column: Option<String>,
    /// Column of the second text of a pair (csv, jsonl).
    #[arg(long, help_heading = "Data")]
    second_column: Option<String>,
    /// Column of the label, or of a list of them or of tags (csv, jsonl and the like).
    #[arg(long, help_heading = "Data")]
    label_column: Option<String>,
    /// Columns of 0 and 1, one for each label (multi-label).
    #[arg(long, help_heading = "Data", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// What is between labels in a text (multi-label) [default: a comma].
    #[arg(long, help_heading = "Data", value_name = "TEXT")]
    label_separator: Option<String>,
    /// Learn numbers as deviations from their mean over the training rows (regression) [default: on].
    #[arg(long, help_heading = "Data", value_enum)]
    standardize: Option<Switch>,
    /// Which tokens of a word have its tag (token-classification) [default: first].
    #[arg(long, help_heading = "Data", value_enum)]
    tagged_pieces: Option<TaggedPieces>,
    /// Whether quotation marks quote fields (csv) [default: between commas, not between tabs].
    #[arg(long, help_heading = "Data", value_enum)]
    quotes: Option<Switch>,
    /// Names of columns of conversations: COLUMN=NAME, such as prompt=question.
    #[arg(
        long,
        help_heading = "Data",
        value_name = "COLUMN=NAME",
        value_delimiter = ','
    )]
    column: Vec<String>,
    /// What of a conversation is trained [default: assistant].
    #[arg(long, help_heading = "Data", value_enum)]
    train_on: Option<TrainOn>,
    /// What becomes of control tokens such as <|im_end|> in messages of conversations [default: refuse].
    #[arg(long, help_heading = "Data", value_enum)]
    control_tokens: Option<ControlTokens>,
    /// The chat template by name, where the model has several.
    #[arg(long, help_heading = "Data", value_name = "NAME")]
    template: Option<String>,
    /// The classes, labels or tags in their order (csv, jsonl, multi-label, token-classification, images); classes that are
    /// numbers must be named.
    #[arg(long, help_heading = "Data", value_delimiter = ',')]
    labels: Vec<String>,
}

/// On or off.
///
/// ```
/// use clap::ValueEnum;
/// use finetune::cli::Switch;
///
/// assert_eq!(Switch::from_str("on", false), Ok(Switch::On));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

impl RunArgs {
    /// The settings in effect: flags over the file over the preset.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::ConfigFile`] for the file; [`Error::Config`] for a flag of a
    /// method that does not have the option.
    pub fn effective(&self) -> Result<Config, Error> {
        let file = self.config.as_deref().map(read).transpose()?;
        let mut config = layered(self.preset, file, self.task)?;
        self.over(&mut config)?;
        // The default depends on the kind of adapter.
        config.adapter.rank = Some(config.adapter.rank());
        Ok(config)
    }

    /// What to do about runs that are there.
    pub fn flags(&self) -> Flags {
        Flags {
            resume: self.resume,
            force: self.force,
            plain: self.plain,
        }
    }

    fn over(&self, config: &mut Config) -> Result<(), Error> {
        fn set<T: Clone>(flag: &Option<T>, field: &mut T) {
            if let Some(value) = flag {
                *field = value.clone();
            }
        }
        fn choose<T: Clone>(flag: &Option<T>, field: &mut Option<T>) {
            if flag.is_some() {
                field.clone_from(flag);
            }
        }
        fn list<T: Clone>(flag: &[T], field: &mut Vec<T>) {
            if !flag.is_empty() {
                *field = flag.to_vec();
            }
        }
        choose(&self.task, &mut config.task);
        set(&self.out, &mut config.out);
        set(&self.name, &mut config.name);
        set(&self.device, &mut config.device);
        set(
            &self.devices.first().map(|first| first.kind),
            &mut config.device,
        );
        list(&self.method, &mut config.methods);
        list(&self.seed, &mut config.seeds);

        let model = &mut config.model;
        choose(&self.model, &mut model.folder);
        choose(&self.architecture, &mut model.architecture);
        choose(&self.pooling, &mut model.pooling);
        set(&self.dtype, &mut model.dtype);
        set(
            &self.dropout.map(|switch| switch == Switch::On),
            &mut model.dropout,
        );
        list(&self.hidden, &mut model.hidden);

        let adapter = &mut config.adapter;
        set(&self.adapter, &mut adapter.kind);
        choose(&self.adapter_from, &mut adapter.from);
        self.layers.over(adapter);
        set(&self.virtual_tokens, &mut adapter.virtual_tokens);
        choose(&self.encoder_width, &mut adapter.encoder_width);

        let training = &mut config.training;
        set(&self.batch, &mut training.batch);
        set(&self.eval_batch, &mut training.eval_batch);
        set(&self.gradient_accumulation, &mut training.accumulation);
        set(&self.epochs, &mut training.epochs);
        choose(&self.max_steps, &mut training.max_steps);
        choose(&self.eval_steps, &mut training.eval_steps);
        choose(&self.clip_norm, &mut training.clip_norm);
        set(&self.eval_generate, &mut training.eval_generate);
        set(&self.max_new_tokens, &mut training.max_new_tokens);
        training.tensorboard |= self.tensorboard;
        training.gradient_checkpointing |= self.gradient_checkpointing;
        set(&self.patience, &mut training.patience);
        training.keep_checkpoints |= self.keep_checkpoints;

        let data = &mut config.data;
        choose(&self.data, &mut data.folder);
        choose(&self.max_length, &mut data.max_length);
        choose(&self.image_size, &mut data.image_size);
        choose(&self.train_rows, &mut data.train_rows);
        choose(&self.valid_rows, &mut data.valid_rows);
        choose(&self.test_rows, &mut data.test_rows);
        set(&self.valid_share, &mut data.valid_share);
        set(&self.test_share, &mut data.test_share);
        set(&self.split_seed, &mut data.split_seed);
        set(&self.text_column, &mut data.text_column);
        choose(&self.second_column, &mut data.second_column);
        set(&self.label_column, &mut data.label_column);
        list(&self.label_columns, &mut data.label_columns);
        set(&self.label_separator, &mut data.label_separator);
        set(
            &self.standardize.map(|switch| switch == Switch::On),
            &mut data.standardize,
        );
        set(&self.tagged_pieces, &mut data.tagged_pieces);
        choose(
            &self.quotes.map(|switch| switch == Switch::On),
            &mut data.quotes,
        );
        list(&self.labels, &mut data.labels);
        list(&self.column, &mut data.columns);
        set(&self.train_on, &mut data.train_on);
        set(&self.control_tokens, &mut data.control_tokens);
        choose(&self.template, &mut data.template);

        for &method in OptimizerName::all() {
            let mut options = config.options(method);
            self.methods.over(method, &mut options)?;
            config.method.insert(method, options);
        }
        Ok(())
    }
}
