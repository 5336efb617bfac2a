//! A perceptron for the digits, trained from scratch in a plain loop.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use burn_ief::mark_output;
use burn_ief::nn::ForwardRecorded;

use crate::data::{Batch, Digit, SIDE, shuffled};
use crate::error::Error;
use crate::experiment::CLASSES;

const HIDDEN: usize = 128;
const BATCH: usize = 32;

/// Two hidden layers of 128 units; 25,856 weights.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use quickstart::mlp::Mlp;
///
/// let device = Device::flex().autodiff();
/// let mlp = Mlp::new(&device);
/// assert_eq!(mlp.forward(Tensor::zeros([3, 8, 8], &device)).dims(), [3, 10]);
/// ```
#[derive(Module, Debug)]
pub struct Mlp {
    first: Linear,
    second: Linear,
    last: Linear,
}

impl Mlp {
    /// With random parameters.
    pub fn new(device: &Device) -> Self {
        let layer = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        Self {
            first: layer(SIDE * SIDE, HIDDEN),
            second: layer(HIDDEN, HIDDEN),
            last: layer(HIDDEN, CLASSES),
        }
    }

    /// Logits `[M, 10]` of images `[M, 8, 8]`.
    pub fn forward(&self, images: Tensor<3>) -> Tensor<2> {
        let x = images.flatten(1, 2);
        let x = relu(self.first.forward_recorded(x));
        let x = relu(self.second.forward_recorded(x));
        mark_output(self.last.forward_recorded(x))
    }

    /// Mean cross-entropy of a batch.
    pub fn loss(&self, batch: &Batch) -> Tensor<1> {
        let logits = self.forward(batch.images.clone());
        let device = logits.device();
        let loss = CrossEntropyLossConfig::new().init(&device);
        loss.forward(logits, batch.labels.clone())
    }

    /// Share of the images that are recognised.
    pub fn accuracy(&self, digits: &[Digit], device: &Device) -> f64 {
        let batch = Batch::new(digits, &device.clone().inner());
        batch.share_of_right(self.valid().forward(batch.images.clone()))
    }

    /// Train with AdamW; after every step `then` may change the model.
    ///
    /// # Errors
    ///
    /// Those of `then`.
    pub fn train(
        mut self,
        digits: &[Digit],
        plan: &Training,
        device: &Device,
        then: impl Fn(Self) -> Result<Self, Error>,
    ) -> Result<Self, Error> {
        let mut optim = AdamWConfig::new().init();
        for epoch in 0..plan.epochs {
            for digits in shuffled(digits, BATCH, plan.seed, epoch as u64) {
                let batch = Batch::new(&digits, device);
                let grads = self.loss(&batch).backward();
                let grads = GradientsParams::from_grads(grads, &self);
                self = then(optim.step(plan.step_size, self, grads))?;
            }
        }
        Ok(self)
    }
}

/// How to train a [`Mlp`].
#[derive(Debug, Clone)]
pub struct Training {
    /// Passes over the images.
    pub epochs: usize,
    /// Seed of their order.
    pub seed: u64,
    /// Of AdamW.
    pub step_size: f64,
}
