//! `custom-image-dataset`: six convolutions in three blocks, for CIFAR-10.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d, Relu};
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::prelude::*;

use crate::batch::Labelled;
use crate::port::{Evaluation, Form, Port, labels_in_turn};

const CLASSES: usize = 10;
/// Side of an image.
pub const SIDE: usize = 32;

/// Three blocks of two convolutions, and two linear layers.
#[derive(Module, Debug)]
pub struct Cnn {
    activation: Relu,
    dropout: Dropout,
    pool: MaxPool2d,
    conv1: Conv2d,
    conv2: Conv2d,
    conv3: Conv2d,
    conv4: Conv2d,
    conv5: Conv2d,
    conv6: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    /// A new model that drops values with this probability (0.3 in the example).
    pub fn new(dropout: f64, device: &Device) -> Self {
        let conv = |from, to| {
            Conv2dConfig::new([from, to], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device)
        };
        Self {
            activation: Relu::new(),
            dropout: DropoutConfig::new(dropout).init(),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            conv1: conv(3, 32),
            conv2: conv(32, 32),
            conv3: conv(32, 64),
            conv4: conv(64, 64),
            conv5: conv(64, 128),
            conv6: conv(128, 128),
            fc1: LinearConfig::new(128 * (SIDE / 8) * (SIDE / 8), 128).init(device),
            fc2: LinearConfig::new(128, CLASSES).init(device),
        }
    }

    /// Images `[M, 3, 32, 32]` to logits `[M, 10]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.activation.forward(self.conv1.forward(x));
        let x = self.activation.forward(self.conv2.forward(x));
        let x = self.dropout.forward(self.pool.forward(x));

        let x = self.activation.forward(self.conv3.forward(x));
        let x = self.activation.forward(self.conv4.forward(x));
        let x = self.dropout.forward(self.pool.forward(x));

        let x = self.activation.forward(self.conv5.forward(x));
        let x = self.activation.forward(self.conv6.forward(x));
        let x = self.dropout.forward(self.pool.forward(x));

        let x = self.activation.forward(self.fc1.forward(x.flatten(1, 3)));
        self.fc2.forward(self.dropout.forward(x))
    }

    /// [`forward`](Self::forward), recorded.
    pub fn forward_recorded(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.activation.forward(self.conv1.forward_recorded(x));
        let x = self.activation.forward(self.conv2.forward_recorded(x));
        let x = self.dropout.forward(self.pool.forward(x));

        let x = self.activation.forward(self.conv3.forward_recorded(x));
        let x = self.activation.forward(self.conv4.forward_recorded(x));
        let x = self.dropout.forward(self.pool.forward(x));

        let x = self.activation.forward(self.conv5.forward_recorded(x));
        let x = self.activation.forward(self.conv6.forward_recorded(x));
        let x = self.dropout.forward(self.pool.forward(x));

        let x = self
            .activation
            .forward(self.fc1.forward_recorded(x.flatten(1, 3)));
        self.fc2.forward_recorded(self.dropout.forward(x))
    }

    /// The mean cross-entropy of a batch.
    pub fn loss(&self, batch: Labelled<4>) -> Tensor<1> {
        let logits = self.forward(batch.inputs);
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, batch.labels)
    }

    /// [`loss`](Self::loss), recorded.
    pub fn loss_recorded(&self, batch: Labelled<4>) -> Tensor<1> {
        let logits = mark_output(self.forward_recorded(batch.inputs));
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        loss.forward(logits, batch.labels)
    }
}

/// The example `custom-image-dataset`.
#[derive(Debug)]
pub struct CustomImageDataset;

impl Port for CustomImageDataset {
    type Model = Cnn;
    type Batch = Labelled<4>;

    const NAME: &'static str = "custom-image-dataset";
    const BATCH: usize = 128;
    const CLASSIFIES: bool = true;

    fn model(_form: Form, device: &Device) -> Cnn {
        Cnn::new(0.3, device)
    }

    fn random_batch(samples: usize, device: &Device) -> Labelled<4> {
        let normal = Distribution::Normal(0.0, 1.0);
        Labelled {
            inputs: Tensor::random([samples, 3, SIDE, SIDE], normal, device),
            labels: labels_in_turn(samples, CLASSES, device),
        }
    }

    fn loss(model: &Cnn, batch: Labelled<4>) -> Tensor<1> {
        model.loss(batch)
    }

    fn loss_recorded(model: &Cnn, batch: Labelled<4>) -> Tensor<1> {
        model.loss_recorded(batch)
    }

    fn evaluate(model: &Cnn, batch: Labelled<4>) -> Evaluation {
        Evaluation::of_classes(
            model.valid().forward(batch.inputs.inner()),
            batch.labels,
            None,
        )
    }
}
