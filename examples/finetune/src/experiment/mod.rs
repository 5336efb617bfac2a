//! Runs of one configuration: data, model, method and seed.

mod batches;
mod compare;
mod conversations;
mod memory;
mod runs;
mod with_model;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use burn::tensor::Device;
use programs::lock::{FolderLock, LockError};
use programs::{DeviceName, open_worker};

use crate::config::{Architecture, Config};
use crate::conversation::Sample;
use crate::data::{Dataset, ImageBatcher, Splits};
use crate::error::Error;
use crate::inputs::{Inputs, Rows};
use crate::model::{architecture, kind_of_folder, normalization};
use crate::problem::Problem;
use crate::rounds::Rounds;
use batches::{Data, Parts, image_size, texts, words};
use conversations::conversations;
use memory::Extent;
use programs::optimizer::{OptimizerName, optimizer};

pub(crate) use batches::Source;
pub use runs::{Ended, Flags};
pub(crate) use with_model::WithModel;

/// Steps of the longest run: schedules count them in 64-bit floats.
const MOST_STEPS: f64 = 9e15;

/// Data and device of all runs of a configuration.
///
/// ```no_run
/// use finetune::experiment::{Experiment, Flags};
/// use programs::optimizer::optimizer;
/// use finetune::preset::Preset;
/// use finetune::stop::Stop;
///
/// let experiment = Experiment::open(Preset::MinilmLoraTrec.config())?;
/// let ended = experiment.run(optimizer("ief"), 1, Flags::default(), &Stop::default())?;
/// println!("{:?}", ended.history().test);
/// # Ok::<(), finetune::Error>(())
/// ```
pub struct Experiment {
    config: Config,
    architecture: Architecture,
    device: Device,
    /// All devices, where several share every batch.
    shares: Vec<Device>,
    data: Data,
    rows: [usize; 3],
    fingerprints: Rows,
    inputs: OnceLock<Inputs>,
    labels: Vec<String>,
    /// Test rows whose questions the trained model answers.
    questions: Vec<Sample>,
    notes: Vec<String>,
    /// Folders that this process writes into, from the first run in them to the end.
    locks: Mutex<Vec<(PathBuf, FolderLock)>>,
}

impl Experiment {
    /// Read the data for the configured model, and open the device.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], [`Error::Data`], [`Error::Model`] and the errors of
    /// [`DeviceKind::open`](programs::DeviceKind::open).
    pub fn open(mut config: Config) -> Result<Self, Error> {
        config.validate()?;
        if let Some(folder) = &config.adapter.from {
            config.adapter.kind = kind_of_folder(folder)?;
        }
        let task = config.task()?;
        let architecture = architecture(&config)?;
        let pictures = matches!(
            architecture,
            Architecture::Vit | Architecture::Dinov2 | Architecture::Mlp
        );
        if pictures != task.is_image() {
            let expected = if pictures {
                "a task of pictures for this model"
            } else {
                "a task of texts for this model"
            };
            let found = serde_json::to_string(&task).unwrap_or_default();
            return Err(Error::config("task", found, expected));
        }
        if task.is_language() != (architecture == Architecture::Causal) {
            let expected = if task.is_language() {
                "a model that goes on with texts (llama, qwen2 and the like) for this task"
            } else {
                "for this model one of the tasks chat, instruct, completion and text"
            };
            let found = serde_json::to_string(&task).unwrap_or_default();
            return Err(Error::config("task", found, expected));
        }
        let problem = task.problem();
        if architecture == Architecture::T5 && problem != Problem::SingleLabel {
            let expected =
                "for T5 a task of one class for each text: it answers in the words of a class";
            let found = serde_json::to_string(&task).unwrap_or_default();
            return Err(Error::config("task", found, expected));
        }
        if problem == Problem::Tokens && config.methods.contains(&optimizer("ngd")) {
            let expected = "another method: NGD takes a pass for each class of one output, and here each word has one";
            return Err(Error::config("methods", "ngd", expected));
        }
        let answers_in_words = matches!(architecture, Architecture::T5 | Architecture::Causal);
        if answers_in_words && config.methods.contains(&optimizer("ngd")) {
            let expected = "another method: NGD takes a pass for each entry of the output, which is a vocabulary here";
            return Err(Error::config("methods", "ngd", expected));
        }
        let mut device = config.device.open_in(config.model.dtype)?;
        if config.training.gradient_checkpointing {
            device = device.gradient_checkpointing();
        }
        let size = image_size(&config, architecture)?;
        if task.is_image() {
            // Scaling many pictures takes a while.
            memory::check(&config, architecture, &Extent::pictures(size))?;
        }
        let dataset = task.load(&config.data_source(size)?)?;
        let mut rows = dataset.sizes();
        for (part, rows) in ["train", "valid", "test"].into_iter().zip(rows) {
            if rows == 0 {
                let field = format!("data: rows for {part}");
                return Err(Error::config(field, 0, "at least 1"));
            }
        }
        let labels = dataset.labels().to_vec();
        let fingerprints = Rows::of(&dataset);
        let mut notes = Vec::new();
        let mut questions = Vec::new();
        if !task.is_language() {
            notes.push(format!(
                "{} rows for training, {} for validation, {} for the test; {}",
                rows[0],
                rows[1],
                rows[2],
                dataset.left_out()
            ));
        }
        let data = match dataset {
            Dataset::Image(splits) => {
                let (mean, std) = normalization(config.model.folder.as_deref(), architecture)?;
                let batcher = ImageBatcher::new(size, mean, std)?;
                let Splits {
                    train, valid, test, ..
                } = splits;
                Data::Image(Parts([train, valid, test].map(Arc::new)), batcher, size)
            }
            Dataset::Text(splits) => texts(&config, architecture, &splits, &mut notes)?,
            Dataset::Tokens(splits) => words(&config, &splits, &mut notes)?,
            Dataset::Language(found) => {
                let wanted = found.splits.test.iter();
                questions.extend(wanted.take(config.training.eval_generate).cloned());
                let data = conversations(&config, &found, &mut notes)?;
                // Samples that lost their answers are left out.
                rows = data.rows();
                data
            }
        };
        let extent = Extent::of(&data, rows, labels.len());
        memory::check(&config, architecture, &extent)?;
        let rounds = Rounds::of(&config.training, rows[0]);
        if rounds.total_steps as f64 > MOST_STEPS {
            let (field, found, unit) = match config.training.max_steps {
                Some(steps) => ("training.max_steps", steps, 1.0),
                None => {
                    let epochs = config.training.epochs;
                    ("training.epochs", epochs, rounds.steps_per_epoch as f64)
                }
            };
            let expected = format!("at most {}", (MOST_STEPS / unit).floor());
            return Err(Error::config(field, found, expected));
        }
        Ok(Self {
            config,
            architecture,
            device,
            shares: Vec::new(),
            data,
            rows,
            fingerprints,
            inputs: OnceLock::new(),
            labels,
            questions,
            notes,
            locks: Mutex::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the user should know about the data.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Share every training batch out to these devices and workers (`ws://HOST:PORT`). The first device is that of the
    /// model. It is the training of one device, up to rounding, but for the sizes of its batches, which are even.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for methods other than natural gradients; [`Error::Device`] and [`Error::Worker`] for a device that
    /// cannot be opened.
    pub fn with_devices(
        mut self,
        devices: &[DeviceName],
        workers: &[String],
    ) -> Result<Self, Error> {
        if devices.is_empty() && workers.is_empty() {
            return Ok(self);
        }
        let others = self
            .config
            .methods
            .iter()
            .find(|method| !method.is_natural());
        if let Some(method) = others {
            let expected = "natural-gradient methods (ief, ef, sf, ngd, kfac, ekfac, iekfac) with --devices and --workers";
            return Err(Error::config("methods", method.name(), expected));
        }
        let mut shares = Vec::new();
        for device in devices {
            shares.push(device.open_in(self.config.model.dtype)?);
        }
        if shares.is_empty() {
            shares.push(self.device.clone());
        }
        for worker in workers {
            shares.push(open_worker(worker)?);
        }
        if self.config.training.gradient_checkpointing {
            shares = shares
                .into_iter()
                .map(Device::gradient_checkpointing)
                .collect();
        }
        if self.config.training.batch < 2 * shares.len() {
            let expected = format!("at least {}, two samples for each device", 2 * shares.len());
            return Err(Error::config(
                "training.batch",
                self.config.training.batch,
                expected,
            ));
        }
        self.device = shares[0].clone();
        self.shares = shares;
        Ok(self)
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Rows for training, validation and test.
    pub(crate) fn rows(&self) -> [usize; 3] {
        self.rows
    }

    /// Names of the classes.
    pub(crate) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Fingerprints of data and model; the model's files are read once.
    pub(crate) fn inputs(&self) -> Result<&Inputs, Error> {
        if let Some(inputs) = self.inputs.get() {
            return Ok(inputs);
        }
        let inputs = Inputs::of(
            self.fingerprints.clone(),
            self.config.model.folder.as_deref(),
            self.config.adapter.from.as_deref(),
        )?;
        Ok(self.inputs.get_or_init(|| inputs))
    }

    /// Bytes of a row in a batch.
    pub(crate) fn row_bytes(&self) -> f64 {
        self.data.row_bytes()
    }

    /// Let no other process write into a folder before this one ends.
    pub(crate) fn lock(&self, folder: &Path) -> Result<(), Error> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.iter().any(|(locked, _)| locked == folder) {
            return Ok(());
        }
        let lock = FolderLock::take(folder).map_err(|error| match error {
            LockError::Write(error) => Error::Write(error),
            held => Error::Locked(held),
        })?;
        locks.push((folder.into(), lock));
        Ok(())
    }

    /// The configuration, to be changed in what data and model do not depend on.
    pub(crate) fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Leave the questions of the test rows unanswered.
    pub(crate) fn ask_nothing(&mut self) {
        self.questions.clear();
    }

    /// Where a run is kept.
    pub fn folder(&self, method: OptimizerName, seed: u64) -> PathBuf {
        self.config
            .out
            .join(format!("{}-seed{seed}", method.name()))
    }
}
