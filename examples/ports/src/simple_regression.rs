//! `simple-regression`: one hidden layer, eight inputs, one number to predict.

use burn::module::Module;
use burn::nn::loss::{MseLoss, Reduction};
use burn::nn::{Linear, LinearConfig, Relu};
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::prelude::*;

use crate::batch::Measured;
use crate::port::{Evaluation, Form, Port};

/// Inputs.
pub const FEATURES: usize = 8;

/// 8-64-1 with ReLU.
#[derive(Module, Debug)]
pub struct Model {
    input_layer: Linear,
    output_layer: Linear,
    activation: Relu,
}

impl Model {
    /// A new model.
    pub fn new(hidden: usize, device: &Device) -> Self {
        Self {
            input_layer: LinearConfig::new(FEATURES, hidden).init(device),
            output_layer: LinearConfig::new(hidden, 1).init(device),
            activation: Relu::new(),
        }
    }

    /// Inputs `[M, 8]` to predictions `[M, 1]`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.input_layer.forward(x);
        let x = self.activation.forward(x);
        self.output_layer.forward(x)
    }

    /// [`forward`](Self::forward), recorded.
    pub fn forward_recorded(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.input_layer.forward_recorded(x);
        let x = self.activation.forward(x);
        self.output_layer.forward_recorded(x)
    }

    /// The mean squared error of a batch.
    pub fn loss(&self, batch: Measured<2>) -> Tensor<1> {
        let predicted = self.forward(batch.inputs);
        MseLoss::new().forward(predicted, batch.targets, Reduction::Mean)
    }

    /// [`loss`](Self::loss), recorded.
    pub fn loss_recorded(&self, batch: Measured<2>) -> Tensor<1> {
        let predicted = mark_output(self.forward_recorded(batch.inputs));
        MseLoss::new().forward(predicted, batch.targets, Reduction::Mean)
    }
}

/// The example `simple-regression`.
#[derive(Debug)]
pub struct SimpleRegression;

impl Port for SimpleRegression {
    type Model = Model;
    type Batch = Measured<2>;

    const NAME: &'static str = "simple-regression";
    const BATCH: usize = 256;
    const CLASSIFIES: bool = false;

    fn model(_form: Form, device: &Device) -> Model {
        Model::new(64, device)
    }

    fn random_batch(samples: usize, device: &Device) -> Measured<2> {
        let inputs = Tensor::random([samples, FEATURES], Distribution::Default, device);
        Measured {
            targets: inputs.clone().sum_dim(1),
            inputs,
        }
    }

    fn loss(model: &Model, batch: Measured<2>) -> Tensor<1> {
        model.loss(batch)
    }

    fn loss_recorded(model: &Model, batch: Measured<2>) -> Tensor<1> {
        model.loss_recorded(batch)
    }

    fn evaluate(model: &Model, batch: Measured<2>) -> Evaluation {
        let predicted = model.valid().forward(batch.inputs.inner());
        Evaluation::of_numbers(predicted, batch.targets.inner())
    }
}
