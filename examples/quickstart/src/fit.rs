//! One training run, in a plain loop.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use programs::optimizer::AnyOptimizer;
use programs::progress::Progress;
use programs::statistics::{mean, median};

use crate::data::{Batch, Split, shuffled};
use crate::error::Error;
use crate::vit::Vit;

/// Images in a batch.
pub const BATCH: usize = 32;

/// How to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the progress display calls the run.
    pub label: String,
    /// Passes over the training images.
    pub epochs: usize,
    /// Seed of the order of the images.
    pub seed: u64,
    /// First step size; it falls linearly to zero.
    pub step_size: f64,
}

/// What a run recorded.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Training loss of every step.
    pub losses: Vec<f64>,
    /// Time of every step (forward, backward, update), in milliseconds.
    pub milliseconds: Vec<f64>,
    /// Share of the test images that the model gets right, after every epoch.
    pub accuracies: Vec<f64>,
}

impl History {
    /// Mean training loss over the last of `epochs` epochs.
    pub fn final_train_loss(&self, epochs: usize) -> f64 {
        let steps = self.losses.len() / epochs.max(1);
        mean(&self.losses[self.losses.len() - steps..])
    }

    /// Test accuracy after the last epoch.
    pub fn test_accuracy(&self) -> f64 {
        self.accuracies.last().copied().unwrap_or(f64::NAN)
    }

    /// Median time of a step, in milliseconds.
    pub fn ms_per_step(&self) -> f64 {
        median(&self.milliseconds)
    }
}

/// Train `vit` on the training images; returns it and what was recorded.
///
/// # Errors
///
/// [`Error::Stopped`] if a step fails.
pub fn fit(
    mut vit: Vit,
    mut optim: AnyOptimizer,
    split: &Split,
    plan: &Plan,
    device: &Device,
) -> Result<(Vit, History), Error> {
    let steps = plan.epochs as f64 * split.train.len().div_ceil(BATCH) as f64;
    let mut progress = Progress::new(&plan.label, plan.epochs);
    let mut history = History::default();
    for epoch in 0..plan.epochs {
        progress.epoch(epoch + 1, split.train.len());
        let mut done = 0;
        for digits in shuffled(&split.train, BATCH, plan.seed, epoch as u64) {
            let batch = Batch::new(&digits, device);
            let left = 1.0 - history.losses.len() as f64 / steps;
            let started = Instant::now();
            let mut loss = f64::NAN;
            vit = optim
                .step_closure(left * plan.step_size, vit, |vit: &Vit| {
                    let mean = vit.loss(&batch);
                    loss = mean.clone().into_scalar::<f32>().into();
                    mean
                })
                .map_err(|error| Error::stopped(&plan.label, error))?;
            // Work that is still queued belongs to the step.
            device
                .sync()
                .map_err(|error| Error::stopped(&plan.label, error))?;
            let milliseconds = started.elapsed().as_secs_f64() * 1e3;
            history.losses.push(loss);
            history.milliseconds.push(milliseconds);
            done += digits.len();
            progress.trained(done, Some((loss, milliseconds)));
        }
        history.accuracies.push(vit.accuracy(&split.test, device));
    }
    progress.finish();
    Ok((vit.valid(), history))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_final_loss_is_the_mean_of_the_last_epoch() {
        let history = History {
            losses: vec![9.0, 9.0, 9.0, 1.0, 2.0, 6.0],
            milliseconds: vec![5.0, 1.0, 2.0, 2.0],
            accuracies: vec![0.1, 0.8],
        };
        assert_eq!(history.final_train_loss(2), 3.0);
        assert_eq!(history.ms_per_step(), 2.0);
        assert_eq!(history.test_accuracy(), 0.8);
    }
}
