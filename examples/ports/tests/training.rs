//! A few steps of iEF at the library's defaults lower the loss of every port.

use burn::nn::transformer::TransformerEncoderConfig;
use burn::tensor::Device;
use burn_ief::prelude::*;
use ports::batch::Batch;
use ports::{
    CustomImageDataset, CustomTrainingLoop, Form, Guide, Mnist, ModernLstm, Port, SimpleRegression,
    TextClassification, TextGeneration, Wgan, custom_training_loop, text_classification,
    text_generation,
};

fn device() -> Device {
    let device = Device::flex();
    device.seed(5);
    device.autodiff()
}

/// Loss before and after.
fn train<P: Port>(mut model: P::Model, batch: &P::Batch, steps: usize) -> [f64; 2] {
    let before = P::evaluate(&model, batch.clone());
    let mut optim = IefConfig::new().init(&model);
    for _ in 0..steps {
        let step = optim.step_closure(1.0, model, |model| P::loss_recorded(model, batch.clone()));
        model = step.unwrap();
    }
    let after = P::evaluate(&model, batch.clone());
    assert_eq!(before.count, after.count);
    assert!(before.count >= batch.samples());
    [before.mean_loss(), after.mean_loss()]
}

/// The example's own model on a small batch.
fn falls<P: Port>(samples: usize, steps: usize) {
    let device = device();
    let model = P::model(Form::Recorded, &device);
    let [before, after] = train::<P>(model, &P::random_batch(samples, &device), steps);
    assert!(after < 0.8 * before, "{}: {before} {after}", P::NAME);
}

#[test]
fn guide() {
    falls::<Guide>(16, 16);
}

#[test]
fn mnist() {
    falls::<Mnist>(8, 8);
}

#[test]
fn simple_regression() {
    falls::<SimpleRegression>(64, 10);
}

#[test]
fn modern_lstm() {
    falls::<ModernLstm>(16, 10);
}

#[test]
fn custom_image_dataset() {
    let device = device();
    let mut batch = CustomImageDataset::random_batch(8, &device);
    // Classes that show: the deep network does not learn noise in a few steps.
    let brightness = batch.labels.clone().float() - 3.5;
    batch.inputs = batch.inputs + brightness.reshape([8, 1, 1, 1]);
    let model = CustomImageDataset::model(Form::Recorded, &device);
    let [before, after] = train::<CustomImageDataset>(model, &batch, 16);
    assert!(after < 0.8 * before, "{before} {after}");
}

#[test]
fn text_classification() {
    let device = device();
    let encoder = TransformerEncoderConfig::new(16, 32, 2, 2)
        .with_norm_first(true)
        .with_quiet_softmax(true);
    let config = text_classification::ModelConfig::new(encoder, 4, 50, 12);
    let batch = text_classification::random_texts(16, 4..12, &config, &device);
    let [before, after] = train::<TextClassification>(config.init(&device), &batch, 6);
    assert!(after < 0.8 * before, "{before} {after}");
}

#[test]
fn text_generation() {
    let device = device();
    let encoder = TransformerEncoderConfig::new(16, 32, 2, 2).with_norm_first(true);
    let config = text_generation::ModelConfig::new(encoder, 50, 49, 16);
    let batch = text_generation::random_sequences(6, 6..16, &config, &device);
    let [before, after] = train::<TextGeneration>(config.init(&device), &batch, 6);
    assert!(after < 0.8 * before, "{before} {after}");
}

#[test]
fn the_critic_tells_real_images_from_made_ones() {
    let device = device();
    let mut model = Wgan::model(Form::Recorded, &device).clipped();
    let batch = Wgan::random_batch(16, &device);
    let before = Wgan::evaluate(&model, batch.clone()).mean_loss();
    let mut optim = IefConfig::new().init(&model);
    for _ in 0..5 {
        let step = optim.step_closure(1.0, model, |model| model.loss_recorded(batch.clone()));
        model = step.unwrap().clipped();
    }
    // The loss is a difference of scores: it has no lower bound but the clipping, and begins near 0.
    let after = Wgan::evaluate(&model, batch).mean_loss();
    assert!(after < before - 1e-3, "{before} {after}");
}

#[test]
fn the_custom_loop_trains() {
    let device = device();
    let model = CustomTrainingLoop::model(Form::Recorded, &device);
    let batch = CustomTrainingLoop::random_batch(16, &device);
    let mut optim = NaturalOptimizer::new(IefConfig::new().build().into(), &model);
    let batches = std::iter::repeat_n(batch.clone(), 4);
    let (model, losses) =
        custom_training_loop::epoch_recorded(0.3, model, &mut optim, batches).unwrap();
    assert_eq!(losses.len(), 4);
    assert!(losses[3] < losses[0]);

    let mut adam = burn::optim::AdamConfig::new().init();
    let (_, losses) = custom_training_loop::epoch(1e-3, model, &mut adam, [batch]);
    assert_eq!(losses.len(), 1);
}
