//! Fine-tuning runs: the pretrained model, one method, one seed.

use burn::tensor::Device;
use burn_peft::LoraConfig;
use programs::optimizer::{OptimizerConfig, OptimizerName};

use crate::data::Split;
use crate::error::Error;
use crate::fit::{History, Plan, fit};
use crate::tuned::Tuned;
use crate::vit::Vit;

/// The ten digits.
pub const CLASSES: usize = 10;
/// Passes over the training images.
pub const EPOCHS: usize = 8;

/// The adapters on the query and value projections: rank 8, scale 1.
pub fn lora() -> LoraConfig {
    LoraConfig::new().with_r(8).with_lora_alpha(8.0)
}

/// Data and device of all runs.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The images.
    pub split: Split,
    /// Where to compute.
    pub device: Device,
    /// Passes over the training images.
    pub epochs: usize,
}

/// One finished run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The optimizer.
    pub method: OptimizerName,
    /// Seed of adapters, head, order of the images and drawn labels.
    pub seed: u64,
    /// Mean training loss over the last epoch.
    pub final_train_loss: f64,
    /// What was recorded on the way.
    pub history: History,
}

impl Experiment {
    /// Fine-tune the pretrained model.
    ///
    /// # Errors
    ///
    /// [`Error::Checkpoint`], and [`Error::Stopped`] if a step fails, as it does where the loss is
    /// no longer finite.
    pub fn run(&self, tuned: &Tuned, seed: u64, step_size: f64) -> Result<Run, Error> {
        self.run_with(tuned.method, &tuned.config(seed), seed, step_size)
    }

    /// Fine-tune the pretrained model with other settings of a method than the recommended ones.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), and for settings out of range.
    pub fn run_with(
        &self,
        method: OptimizerName,
        config: &OptimizerConfig,
        seed: u64,
        step_size: f64,
    ) -> Result<Run, Error> {
        let plan = Plan {
            label: format!("{} seed {seed}", method.title()),
            epochs: self.epochs,
            seed,
            step_size,
        };
        let device = &self.device;
        device.seed(seed);
        let vit = Vit::pretrained(device)?.fine_tune(&lora(), CLASSES, device);
        let optim = config.init(&vit)?;
        let (_, history) = fit(vit, optim, &self.split, &plan, device)?;
        Ok(Run {
            method,
            seed,
            final_train_loss: history.final_train_loss(self.epochs),
            history,
        })
    }
}
