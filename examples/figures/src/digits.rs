//! The model of the quickstart at several stages of its training.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use finetune::model::Judged;
use programs::memory::available_bytes;
use programs::optimizer::AnyOptimizer;
use quickstart::data::{Batch, Digit, Split};
use quickstart::experiment::{CLASSES, lora};
use quickstart::fit::BATCH;
use quickstart::tuned::Tuned;
use quickstart::vit::Vit;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::error::Error;
use crate::survey::{Stage, Trainer};

/// Images for which losses are computed at once.
const CHUNK: usize = 200;

/// The quickstart's model, to be judged.
///
/// ```
/// use burn::tensor::Device;
/// use figures::digits::{Classifier, batches};
/// use finetune::model::Judged;
/// use quickstart::vit::Vit;
///
/// let device = Device::flex().autodiff();
/// let model = Classifier { vit: Vit::pretrained(&device)? };
/// let batch = &batches(1, 4, 1, &device)?[0];
/// assert_eq!(model.outputs(batch).dims()[..2], [4, 1]);
/// # Ok::<(), figures::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct Classifier {
    /// The model.
    pub vit: Vit,
}

impl Judged for Classifier {
    type Batch = Batch;

    fn outputs(&self, batch: &Batch) -> Tensor<3> {
        self.vit.forward(batch.images.clone()).unsqueeze_dim(1)
    }

    fn loss(&self, batch: &Batch) -> Tensor<1> {
        self.vit.loss(batch)
    }

    fn samples(batch: &Batch) -> usize {
        let [samples] = batch.labels.dims();
        samples
    }
}

/// A training of the quickstart's model.
///
/// ```no_run
/// use burn::tensor::Device;
/// use figures::digits::Training;
/// use quickstart::tuned::Tuned;
///
/// let device = Device::flex().autodiff();
/// let training = Training { by: Tuned::named("ief").unwrap(), epochs: 8, seed: 1 };
/// let stages = training.stages(&device)?; // before the first epoch and after each
/// assert_eq!(stages.len(), 9);
/// # Ok::<(), figures::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Training {
    /// What trains it, with the step size that the quickstart found for it.
    pub by: Tuned,
    /// Passes over the training images.
    pub epochs: usize,
    /// Seed of adapters, head, order of the images and drawn labels.
    pub seed: u64,
}

impl Training {
    /// The model before the first epoch and after each.
    ///
    /// # Errors
    ///
    /// [`Error::Digits`], [`Error::Method`] and [`Error::State`].
    pub fn stages(&self, device: &Device) -> Result<Vec<Stage<Classifier>>, Error> {
        let mut images = Split::load()?.train;
        device.seed(self.seed);
        let mut order = ChaCha8Rng::seed_from_u64(self.seed);
        let mut vit = Vit::pretrained(device)?.fine_tune(&lora(), CLASSES, device);
        let config = self.by.config(self.seed);
        let mut optim = config.init(&vit).map_err(Error::method("the optimizer"))?;
        let steps = self.epochs * images.len().div_ceil(BATCH);
        let mut step = 0;
        let trainer = |optim: &AnyOptimizer, epoch| {
            Trainer::of(&config, optim).map_err(|source| Error::State {
                what: format!("epoch {epoch}"),
                source,
            })
        };
        let mut stages = vec![stage(0, &vit, trainer(&optim, 0)?, &images, device)];
        for epoch in 1..=self.epochs {
            images.shuffle(&mut order);
            for chunk in images.chunks(BATCH) {
                let batch = Batch::new(chunk, device);
                let left = 1.0 - f64::from(step) / steps as f64;
                vit = optim
                    .step_closure(self.by.step_size * left, vit, |vit: &Vit| vit.loss(&batch))
                    .map_err(Error::method(format!("training step {step}")))?;
                step += 1;
            }
            let trainer = trainer(&optim, epoch)?;
            stages.push(stage(epoch, &vit, trainer, &images, device));
        }
        Ok(stages)
    }
}

fn stage(
    epoch: usize,
    vit: &Vit,
    trainer: Option<Trainer>,
    images: &[Digit],
    device: &Device,
) -> Stage<Classifier> {
    let losses = images.chunks(CHUNK).map(|chunk| {
        let batch = Batch::new(chunk, device);
        let loss = vit.loss(&batch).into_scalar::<f32>();
        f64::from(loss) * chunk.len() as f64
    });
    Stage {
        epoch,
        model: Classifier { vit: vit.clone() },
        train_loss: losses.sum::<f64>() / images.len() as f64,
        trainer,
    }
}

/// Batches of training images, each drawn anew without repetition.
///
/// # Errors
///
/// [`Error::Digits`]; [`Error::Option`] if a batch would hold no image or more than there are.
pub fn batches(count: usize, size: usize, seed: u64, device: &Device) -> Result<Vec<Batch>, Error> {
    let images = Split::load()?.train;
    if size == 0 || size > images.len() {
        return Err(Error::Option {
            option: "--batch-size",
            found: size.to_string(),
            expected: format!("1 to {}", images.len()),
        });
    }
    // Pixels and a label, as the device's numbers.
    let bytes = count as f64 * size as f64 * 8.0 * (images[0].pixels.len() + 1) as f64;
    if available_bytes().is_some_and(|left| bytes > left) {
        return Err(Error::Option {
            option: "--batches",
            found: count.to_string(),
            expected: format!(
                "fewer: {count} batches of {size} images take {:.0} MiB, more than the memory that is left",
                bytes / 1048576.0
            ),
        });
    }
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let batch = |_| {
        let drawn = rand::seq::index::sample(&mut generator, images.len(), size);
        let drawn = drawn.into_iter().map(|index| images[index].clone());
        Batch::new(&drawn.collect::<Vec<_>>(), device)
    };
    Ok((0..count).map(batch).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_repeat_with_the_seed_and_differ_from_one_another() {
        let device = Device::flex();
        let labels = |seed| -> Vec<Vec<i64>> {
            let batches = batches(2, 16, seed, &device).unwrap().into_iter();
            batches
                .map(|batch| batch.labels.into_data().try_into_vec_as::<i64>().unwrap())
                .collect()
        };
        assert_eq!(labels(3), labels(3));
        assert_ne!(labels(3)[0], labels(3)[1]);
        assert_ne!(labels(3), labels(4));
        assert!(matches!(
            batches(1, 5000, 1, &device),
            Err(Error::Option { .. })
        ));
    }
}
