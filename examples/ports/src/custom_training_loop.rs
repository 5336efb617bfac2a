//! `custom-training-loop`: the network of `guide` with 1,024 hidden units, in a hand-written loop.

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use burn_ief::Error;
use burn_ief::prelude::*;

use crate::batch::Labelled;
use crate::guide::{self, Model, ModelConfig};
use crate::port::{Evaluation, Form, Port};

/// One pass over the batches with an optimizer of Burn; returns the model and the losses.
pub fn epoch(
    lr: f64,
    mut model: Model,
    optim: &mut ModuleOptimizer,
    batches: impl IntoIterator<Item = Labelled<3>>,
) -> (Model, Vec<f32>) {
    let mut losses = Vec::new();
    for batch in batches {
        let loss = model.loss(batch);
        losses.push(loss.clone().into_scalar::<f32>());
        let grads = loss.backward();
        let grads = GradientsParams::from_grads(grads, &model);
        model = optim.step(lr, model, grads);
    }
    (model, losses)
}

/// [`epoch`] with a natural-gradient method.
///
/// # Errors
///
/// Those of [`NaturalOptimizer::step`].
pub fn epoch_recorded(
    lr: f64,
    mut model: Model,
    optim: &mut NaturalOptimizer,
    batches: impl IntoIterator<Item = Labelled<3>>,
) -> Result<(Model, Vec<f32>), Error> {
    let mut losses = Vec::new();
    for batch in batches {
        let tape = optim.start();
        let loss = model.loss_recorded(batch);
        losses.push(loss.clone().into_scalar::<f32>());
        let grads = loss.backward();
        model = optim.step(lr, model, tape, grads)?;
    }
    Ok((model, losses))
}

/// The example `custom-training-loop`.
#[derive(Debug)]
pub struct CustomTrainingLoop;

impl Port for CustomTrainingLoop {
    type Model = Model;
    type Batch = Labelled<3>;

    const NAME: &'static str = "custom-training-loop";
    const BATCH: usize = 64;
    const CLASSIFIES: bool = true;

    fn model(_form: Form, device: &Device) -> Model {
        ModelConfig::new(1024).init(device)
    }

    fn random_batch(samples: usize, device: &Device) -> Labelled<3> {
        guide::random_digits(samples, device)
    }

    fn loss(model: &Model, batch: Labelled<3>) -> Tensor<1> {
        model.loss(batch)
    }

    fn loss_recorded(model: &Model, batch: Labelled<3>) -> Tensor<1> {
        model.loss_recorded(batch)
    }

    fn evaluate(model: &Model, batch: Labelled<3>) -> Evaluation {
        guide::evaluate(model, batch)
    }
}
