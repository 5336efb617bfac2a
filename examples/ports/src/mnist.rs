//! `mnist`: a convolutional network with BatchNorm, which becomes GroupNorm in the recorded form.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::norm::Normalization;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{
    BatchNormConfig, Dropout, DropoutConfig, Gelu, GroupNormConfig, Linear, LinearConfig, Relu,
};
use burn::tensor::{Device, Tensor};
use burn_ief::prelude::*;

use crate::batch::Labelled;
use crate::guide::random_digits;
use crate::port::{Evaluation, Form, Port};

const CLASSES: usize = 10;
const CHANNELS: usize = 64;
const HIDDEN: usize = 128;
/// Side of the maps after two convolutions with pooling.
const POOLED: usize = 5;
/// Four channels to a group.
const GROUPS: usize = 16;

/// A convolution, a norm, ReLU, and a pooling layer.
#[derive(Module, Debug)]
struct ConvBlock {
    conv: Conv2d,
    norm: Normalization,
    pool: MaxPool2d,
    activation: Relu,
}

impl ConvBlock {
    fn new(channels: [usize; 2], form: Form, device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new(channels, [3, 3]).init(device),
            norm: match form {
                Form::Burn => BatchNormConfig::new(channels[1]).init(device).into(),
                Form::Recorded => GroupNormConfig::new(GROUPS, channels[1])
                    .init(device)
                    .into(),
            },
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            activation: Relu::new(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.conv.forward(x);
        let x = self.activation.forward(self.norm.forward(x));
        self.pool.forward(x)
    }

    fn forward_recorded(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.conv.forward_recorded(x);
        let x = self.activation.forward(self.norm.forward_recorded(x));
        self.pool.forward(x)
    }
}

/// Two blocks and three linear layers.
#[derive(Module, Debug)]
pub struct Model {
    conv1: ConvBlock,
    conv2: ConvBlock,
    dropout: Dropout,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
    activation: Gelu,
}

impl Model {
    /// A new model that drops values with this probability (0.25 in the example).
    pub fn new(form: Form, dropout: f64, device: &Device) -> Self {
        Self {
            conv1: ConvBlock::new([1, CHANNELS], form, device),
            conv2: ConvBlock::new([CHANNELS, CHANNELS], form, device),
            dropout: DropoutConfig::new(dropout).init(),
            fc1: LinearConfig::new(CHANNELS * POOLED * POOLED, HIDDEN).init(device),
            fc2: LinearConfig::new(HIDDEN, HIDDEN).init(device),
            fc3: LinearConfig::new(HIDDEN, CLASSES).init(device),
            activation: Gelu::new(),
        }
    }

    /// Images `[M, 28, 28]` to logits `[M, 10]`.
    pub fn forward(&self, images: Tensor<3>) -> Tensor<2> {
        let x = self.conv1.forward(images.unsqueeze_dim(1));
        let x = self.conv2.forward(x);
        let x = self.fc1.forward(x.flatten(1, 3));
        let x = self.dropout.forward(self.activation.forward(x));
        let x = self.fc2.forward(x);
        let x = self.dropout.forward(self.activation.forward(x));
        self.fc3.forward(x)
    }

    /// [`forward`](Self::forward), recorded.
    pub fn forward_recorded(&self, images: Tensor<3>) -> Tensor<2> {
        let x = self.conv1.forward_recorded(images.unsqueeze_dim(1));
        let x = self.conv2.forward_recorded(x);
        let x = self.fc1.forward_recorded(x.flatten(1, 3));
        let x = self.dropout.forward(self.activation.forward(x));
        let x = self.fc2.forward_recorded(x);
        let x = self.dropout.forward(self.activation.forward(x));
        self.fc3.forward_recorded(x)
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

/// The example `mnist`.
#[derive(Debug)]
pub struct Mnist;

impl Port for Mnist {
    type Model = Model;
    type Batch = Labelled<3>;

    const NAME: &'static str = "mnist";
    const BATCH: usize = 256;
    const CLASSIFIES: bool = true;

    fn model(form: Form, device: &Device) -> Model {
        Model::new(form, 0.25, device)
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
        Evaluation::of_classes(
            model.valid().forward(batch.inputs.inner()),
            batch.labels,
            None,
        )
    }
}
