//! `guide`: a small convolutional network for MNIST.

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig, Relu};
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::prelude::*;

use crate::batch::Labelled;
use crate::port::{Evaluation, Form, Port, labels_in_turn};

const CLASSES: usize = 10;
const SIDE: usize = 28;
const POOLED: usize = 8;

/// Two convolutions, a pooling layer and two linear layers.
#[derive(Module, Debug)]
pub struct Model {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: AdaptiveAvgPool2d,
    dropout: Dropout,
    linear1: Linear,
    linear2: Linear,
    activation: Relu,
}

/// Sizes of a [`Model`].
#[derive(Config, Debug)]
pub struct ModelConfig {
    /// Width of the hidden linear layer.
    pub hidden: usize,
    /// Probability with which values are dropped.
    #[config(default = 0.5)]
    pub dropout: f64,
}

impl ModelConfig {
    /// A new model.
    pub fn init(&self, device: &Device) -> Model {
        Model {
            conv1: Conv2dConfig::new([1, 8], [3, 3]).init(device),
            conv2: Conv2dConfig::new([8, 16], [3, 3]).init(device),
            pool: AdaptiveAvgPool2dConfig::new([POOLED, POOLED]).init(),
            dropout: DropoutConfig::new(self.dropout).init(),
            linear1: LinearConfig::new(16 * POOLED * POOLED, self.hidden).init(device),
            linear2: LinearConfig::new(self.hidden, CLASSES).init(device),
            activation: Relu::new(),
        }
    }
}

impl Model {
    /// Images `[M, 28, 28]` to logits `[M, 10]`.
    pub fn forward(&self, images: Tensor<3>) -> Tensor<2> {
        let x = images.unsqueeze_dim(1);
        let x = self.dropout.forward(self.conv1.forward(x));
        let x = self.dropout.forward(self.conv2.forward(x));
        let x = self.pool.forward(self.activation.forward(x));
        let x = self.linear1.forward(x.flatten(1, 3));
        let x = self.activation.forward(self.dropout.forward(x));
        self.linear2.forward(x)
    }

    /// [`forward`](Self::forward), recorded.
    pub fn forward_recorded(&self, images: Tensor<3>) -> Tensor<2> {
        let x = images.unsqueeze_dim(1);
        let x = self.dropout.forward(self.conv1.forward_recorded(x));
        let x = self.dropout.forward(self.conv2.forward_recorded(x));
        let x = self.pool.forward(self.activation.forward(x));
        let x = self.linear1.forward_recorded(x.flatten(1, 3));
        let x = self.activation.forward(self.dropout.forward(x));
        self.linear2.forward_recorded(x)
    }

    /// The mean cross-entropy of a batch.
    pub fn loss(&self, batch: Labelled<3>) -> Tensor<1> {
        let logits = self.forward(batch.inputs);
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, batch.labels)
    }

    /// [`loss`](Self::loss), recorded.
    pub fn loss_recorded(&self, batch: Labelled<3>) -> Tensor<1> {
        let logits = mark_output(self.forward_recorded(batch.inputs));
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, batch.labels)
    }
}

/// The example `guide`.
#[derive(Debug)]
pub struct Guide;

impl Port for Guide {
    type Model = Model;
    type Batch = Labelled<3>;

    const NAME: &'static str = "guide";
    const BATCH: usize = 64;
    const CLASSIFIES: bool = true;

    fn model(_form: Form, device: &Device) -> Model {
        ModelConfig::new(512).init(device)
    }

    fn random_batch(samples: usize, device: &Device) -> Labelled<3> {
        random_digits(samples, device)
    }

    fn loss(model: &Model, batch: Labelled<3>) -> Tensor<1> {
        model.loss(batch)
    }

    fn loss_recorded(model: &Model, batch: Labelled<3>) -> Tensor<1> {
        model.loss_recorded(batch)
    }

    fn evaluate(model: &Model, batch: Labelled<3>) -> Evaluation {
        evaluate(model, batch)
    }
}

pub(crate) fn evaluate(model: &Model, batch: Labelled<3>) -> Evaluation {
    Evaluation::of_classes(
        model.valid().forward(batch.inputs.inner()),
        batch.labels,
        None,
    )
}

/// Random numbers in place of the pixels of digits.
pub(crate) fn random_digits(samples: usize, device: &Device) -> Labelled<3> {
    let normal = Distribution::Normal(0.0, 1.0);
    Labelled {
        inputs: Tensor::random([samples, SIDE, SIDE], normal, device),
        labels: labels_in_turn(samples, CLASSES, device),
    }
}
