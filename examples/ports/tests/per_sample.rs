//! The recorded form of every port gives the gradients of one backward pass per sample, and the step of
//! `step_by_sample`.
//!
//! A device takes its precision once per process, so these tests in f64 are a binary of their own.

use std::sync::Once;

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::transformer::TransformerEncoderConfig;
use burn::tensor::{Device, FloatDType, Tensor};
use burn_ief::Tape;
use burn_ief::jacobian::Jacobian;
use burn_ief::prelude::*;
use ports::batch::Batch;
use ports::{
    CustomImageDataset, Form, Guide, Mnist, ModernLstm, Port, SimpleRegression, TextClassification,
    TextGeneration, Wgan, custom_image_dataset, guide, mnist, modern_lstm, text_classification,
    text_generation,
};

const TOLERANCE: f64 = 1e-10;

/// Flex in f64.
fn device() -> Device {
    static PRECISION: Once = Once::new();
    let mut device = Device::flex();
    PRECISION.call_once(|| {
        let set = device.configure(FloatDType::F64);
        set.expect("before the first tensor");
    });
    device.seed(3);
    device.autodiff()
}

/// Compare values, rows and steps at a model without dropout.
fn check<P: Port>(model: &P::Model, batch: &P::Batch, scale: LossScale) {
    let samples = batch.samples();
    // Outside of a recording.
    let plain = P::loss(model, batch.clone()).into_scalar::<f64>();
    let recorded = P::loss_recorded(model, batch.clone()).into_scalar::<f64>();
    assert!((plain - recorded).abs() < TOLERANCE, "{plain} {recorded}");

    let by_sample = Jacobian::by_sample(model, samples, |model, n| {
        P::loss_of_sample(model, batch.narrow(n, 1))
    });
    let tape = Tape::start().with_loss_scale(scale);
    let grads = P::loss_recorded(model, batch.clone()).backward();
    let recorded = Jacobian::from_tape(tape, grads, model).unwrap();
    let expected = by_sample.unwrap().to_dense();
    assert_eq!(expected.len(), samples);
    for (n, (row, expected)) in recorded.to_dense().iter().zip(&expected).enumerate() {
        let error = distance(row, expected);
        assert!(error < TOLERANCE, "{} sample {n}: {error}", P::NAME);
    }
    // The samples differ, so a rule that mixes them up would show.
    assert!(distance(&expected[0], &expected[1]) > 1e-3);

    let start = flat(model);
    let moved = |model| -> Vec<f64> {
        let end = flat(&model);
        end.iter()
            .zip(&start)
            .map(|(end, start)| end - start)
            .collect()
    };
    let config = IefConfig::new();
    let mut optim = config.init(model);
    let step = optim.step_closure(0.1, model.clone(), |model: &P::Model| {
        P::loss_recorded(model, batch.clone())
    });
    let step = moved(step.unwrap());
    let mut optim = config.init(model);
    let reference = optim.step_by_sample(0.1, model.clone(), samples, |model, n| {
        let tokens = P::loss_of_sample(model, batch.narrow(n, 1));
        // The value of the recorded loss, with the marked output on its graph.
        let marked = P::loss_recorded(model, batch.narrow(n, 1));
        declare_loss_scale(LossScale::Mean);
        let factor = tokens.into_scalar::<f64>() / marked.clone().into_scalar::<f64>();
        marked * factor
    });
    let error = distance(&step, &moved(reference.unwrap()));
    assert!(error < 1e-8, "{} step: {error}", P::NAME);
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

/// All parameters in a row.
fn flat<M: Module>(model: &M) -> Vec<f64> {
    struct Flat(Vec<f64>);
    impl ModuleVisitor for Flat {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().inner().into_data().iter::<f64>());
        }
    }
    let mut flat = Flat(Vec::new());
    model.visit(&mut flat);
    flat.0
}

#[test]
fn guide_and_custom_training_loop() {
    let device = device();
    let model = guide::ModelConfig::new(12).with_dropout(0.0).init(&device);
    check::<Guide>(&model, &Guide::random_batch(3, &device), LossScale::Mean);
}

#[test]
fn mnist() {
    let device = device();
    let model = mnist::Model::new(Form::Recorded, 0.0, &device);
    check::<Mnist>(&model, &Mnist::random_batch(2, &device), LossScale::Mean);
}

#[test]
fn simple_regression() {
    let device = device();
    let model = SimpleRegression::model(Form::Recorded, &device);
    let batch = SimpleRegression::random_batch(5, &device);
    check::<SimpleRegression>(&model, &batch, LossScale::Mean);
}

#[test]
fn text_classification() {
    let device = device();
    let encoder = TransformerEncoderConfig::new(8, 16, 2, 2)
        .with_norm_first(true)
        .with_quiet_softmax(true)
        .with_dropout(0.0);
    let config = text_classification::ModelConfig::new(encoder, 4, 30, 9);
    let model = config.init(&device);
    let batch = text_classification::random_texts(4, 3..9, &config, &device);
    check::<TextClassification>(&model, &batch, LossScale::Mean);
}

#[test]
fn text_generation() {
    let device = device();
    let encoder = TransformerEncoderConfig::new(8, 16, 2, 2)
        .with_norm_first(true)
        .with_dropout(0.0);
    for pad in [0, 13, 29] {
        let config = text_generation::ModelConfig::new(encoder.clone(), 30, pad, 12);
        let model = config.init(&device);
        let batch = text_generation::random_sequences(4, 3..10, &config, &device);
        let tokens: usize = batch.real.iter().sum();
        let scale = LossScale::Factor(1.0 / tokens as f64);
        check::<TextGeneration>(&model, &batch, scale);
    }
}

#[test]
fn modern_lstm() {
    let device = device();
    let config = modern_lstm::ModelConfig::new()
        .with_hidden(5)
        .with_dropout(0.0);
    let model = config.init(&device);
    let batch = ModernLstm::random_batch(4, &device);
    check::<ModernLstm>(&model, &batch, LossScale::Mean);
}

#[test]
fn wgan() {
    let device = device();
    let model = Wgan::model(Form::Recorded, &device);
    check::<Wgan>(&model, &Wgan::random_batch(3, &device), LossScale::Mean);
}

#[test]
fn custom_image_dataset() {
    let device = device();
    let model = custom_image_dataset::Cnn::new(0.0, &device);
    let batch = CustomImageDataset::random_batch(2, &device);
    check::<CustomImageDataset>(&model, &batch, LossScale::Mean);
}
