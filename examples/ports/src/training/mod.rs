//! Training the ports, with their own optimizers and with iEF.

mod data;
mod recipes;

use std::path::Path;
use std::time::Instant;

use burn::optim::SgdConfig;
use burn::tensor::Device;
use burn_ief::prelude::*;
use programs::optimizer::AnyOptimizer;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

pub use data::Split;
pub use recipes::{Own, Recipe, Schedule};

use crate::batch::Batch;
use crate::error::Error;
use crate::port::{Evaluation, Form};

/// Samples that are evaluated at once.
const CHUNK: usize = 200;
/// Training samples that losses before and after are measured on.
const MEASURED: usize = 1000;

/// What trains a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trainer {
    /// The example's own optimizer.
    Own,
    /// Plain SGD.
    Sgd,
    /// iEF at the defaults of the library.
    Ief,
}

/// What a run does otherwise than its recipe.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    /// Passes over the training data.
    pub epochs: Option<usize>,
    /// The largest step size.
    pub step_size: Option<f64>,
}

/// A run and what came out.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// The example.
    pub example: &'static str,
    /// The optimizer.
    pub optimizer: &'static str,
    /// Whether it is the example's own.
    pub own: bool,
    /// The largest step size.
    pub step_size: f64,
    /// The seed.
    pub seed: u64,
    /// Steps.
    pub steps: usize,
    /// Samples of a step.
    pub batch: usize,
    /// Loss on training data before, with dropout off.
    pub train_loss_before: f64,
    /// Loss on training data afterwards.
    pub train_loss: f64,
    /// Loss on test data before.
    pub test_loss_before: f64,
    /// Loss on test data afterwards.
    pub test_loss: f64,
    /// Share of the test data that a classifier gets right.
    pub test_accuracy: Option<f64>,
    /// Seconds of all steps.
    pub seconds: f64,
}

/// Train a port.
///
/// # Errors
///
/// [`Error::NoData`] and [`Error::Data`] about its data, [`Error::Stopped`] if a step fails or the loss is not
/// finite at the end.
pub fn train<P: Recipe>(
    trainer: Trainer,
    seed: u64,
    changes: Changes,
    folder: Option<&Path>,
    device: &Device,
) -> Result<Run, Error> {
    let folder = match folder {
        None if !P::FOLDERS.is_empty() => {
            return Err(Error::NoData {
                example: P::NAME,
                folders: P::FOLDERS,
            });
        }
        folder => folder.unwrap_or(Path::new("")),
    };
    device.seed(seed);
    let device = device.clone().autodiff();
    let Split { train, test } = P::data(folder, &device)?;
    let form = if trainer == Trainer::Ief {
        Form::Recorded
    } else {
        Form::Burn
    };
    let mut model = P::untrained(form, &device);
    let (mut optim, optimizer, step_size, schedule) = match trainer {
        Trainer::Own => {
            let Own {
                name,
                step_size,
                schedule,
            } = P::OWN;
            let optim = AnyOptimizer::from(P::optimizer());
            (optim, name, step_size, schedule)
        }
        Trainer::Sgd => {
            let optim = SgdConfig::new().init().into();
            (optim, "SGD", P::SGD, Schedule::Linear)
        }
        Trainer::Ief => {
            let method = IefConfig::new().build();
            let optim = NaturalOptimizer::new(method.into(), &model).into();
            (optim, "iEF", P::IEF, Schedule::Late)
        }
    };
    let step_size = changes.step_size.unwrap_or(step_size);
    let stopped = |problem: String| Error::Stopped {
        run: format!("{} with {optimizer}", P::NAME),
        problem,
    };

    let some = every(train.samples(), MEASURED);
    let seen = train.select(&some);
    let before = [evaluate::<P>(&model, &seen), evaluate::<P>(&model, &test)];
    let epochs = changes.epochs.unwrap_or(P::EPOCHS);
    let steps = epochs * train.samples().div_ceil(P::BATCH);
    let started = Instant::now();
    let mut step = 0;
    for epoch in 0..epochs {
        for places in shuffled(train.samples(), seed, epoch as u64).chunks(P::BATCH) {
            let batch = train.select(places);
            let lr = step_size * schedule.factor(step, steps);
            let stepped = optim.step_closure(lr, model, |model| match trainer {
                Trainer::Ief => P::loss_recorded(model, batch),
                Trainer::Own | Trainer::Sgd => P::loss(model, batch),
            });
            model = P::after_step(stepped.map_err(|error| stopped(error.to_string()))?);
            step += 1;
        }
    }
    device
        .sync()
        .map_err(|error| stopped(format!("{error:?}")))?;
    let seconds = started.elapsed().as_secs_f64();
    let after = [evaluate::<P>(&model, &seen), evaluate::<P>(&model, &test)];
    if !after[0].loss.is_finite() {
        return Err(stopped("the loss is not finite".into()));
    }
    Ok(Run {
        example: P::NAME,
        optimizer,
        own: trainer == Trainer::Own,
        step_size,
        seed,
        steps,
        batch: P::BATCH,
        train_loss_before: before[0].mean_loss(),
        train_loss: after[0].mean_loss(),
        test_loss_before: before[1].mean_loss(),
        test_loss: after[1].mean_loss(),
        test_accuracy: P::CLASSIFIES.then(|| after[1].accuracy()),
        seconds,
    })
}

fn evaluate<P: Recipe>(model: &P::Model, batch: &P::Batch) -> Evaluation {
    let mut sum = Evaluation::default();
    let mut start = 0;
    while start < batch.samples() {
        let count = CHUNK.min(batch.samples() - start);
        sum = sum + P::evaluate(model, batch.narrow(start, count));
        start += count;
    }
    sum
}

/// At most `most` of `count` places, spread over all.
fn every(count: usize, most: usize) -> Vec<usize> {
    let kept = count.min(most);
    (0..kept).map(|at| at * count / kept).collect()
}

/// All places, in an order that depends on the seed and the epoch alone.
fn shuffled(count: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(epoch);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut generator);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Guide, SimpleRegression};

    #[test]
    fn an_epoch_has_every_place_once() {
        let mut order = shuffled(10, 1, 0);
        assert_ne!(order, shuffled(10, 1, 1));
        assert_eq!(order, shuffled(10, 1, 0));
        order.sort_unstable();
        assert_eq!(order, (0..10).collect::<Vec<_>>());
        assert_eq!(every(10, 5), [0, 2, 4, 6, 8]);
        assert_eq!(every(3, 5), [0, 1, 2]);
    }

    #[test]
    fn the_regression_trains_with_all_three() {
        let device = Device::flex();
        for trainer in [Trainer::Own, Trainer::Sgd, Trainer::Ief] {
            let changes = Changes {
                epochs: Some(3),
                ..Changes::default()
            };
            let run = train::<SimpleRegression>(trainer, 1, changes, None, &device).unwrap();
            assert_eq!((run.steps, run.batch), (39, 256));
            assert!(run.train_loss < run.train_loss_before, "{run:?}");
            assert!(run.test_loss < run.test_loss_before, "{run:?}");
            assert_eq!(run.test_accuracy, None);
        }
    }

    #[test]
    fn an_example_without_its_data_says_what_to_fetch() {
        let changes = Changes::default();
        let error = train::<Guide>(Trainer::Own, 1, changes, None, &Device::flex()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("fetch-data --out DIR mnist10k"), "{text}");
    }
}
