//! Steps of a model that calls the layers' own `forward`, one backward pass per sample, against
//! recorded steps.

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::LstmState;
use burn::nn::transformer::TransformerDecoderInput;
use burn::tensor::Tensor;
use burn_ief::Error;
use burn_ief::methods::AnyConfig;
use burn_ief::prelude::*;
use burn_ief::solve::Damping;

use super::check::values;
use super::devices;
use super::edges::{Batch, CLASSES, Classifier, SAMPLES, cross_entropy, given};

/// The model as it was before anyone recorded it.
fn unedited(model: &Classifier, x: Tensor<3>, batch: &Batch, n: usize) -> Tensor<2> {
    let (_, state) = model.lstm.forward(x.clone(), None);
    let (y, _) = model.lstm.forward(x, Some(state));
    let state = LstmState::new(given([2, 1, 2], &y), given([2, 1, 2], &y));
    let (y, _) = model.both_lstm.forward(y.swap_dims(0, 1), Some(state));
    let state = given([1, 3], &y);
    let y = model.gru.forward(y.swap_dims(0, 1), Some(state));
    let (y, _) = model.both_gru.forward(y, None);
    let (y, _) = model.rnn.forward(y, None);
    let (memory, _) = model.both_rnn.forward(y.clone(), None);
    let pad = batch.pad.clone().narrow(0, n, 1);
    let input = TransformerDecoderInput::new(y, memory.clone()).memory_mask_pad(pad.clone());
    let y = model.decoder.forward(input);
    let y = model.cross.forward(y, memory, Some(pad));
    model.head.forward(y.mean_dim(1).squeeze_dim::<2>(1))
}

/// Every parameter's entries.
fn flat(model: &Classifier) -> Vec<f64> {
    #[derive(Default)]
    struct Entries(Vec<f64>);
    impl ModuleVisitor for Entries {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(values(param.val()));
        }
    }
    let mut entries = Entries::default();
    model.visit(&mut entries);
    entries.0
}

/// How far the steps are apart, relative to the step.
fn distance(start: &[f64], a: &[f64], b: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let step = norm(&mut start.iter().zip(b).map(|(start, b)| b - start));
    assert!(step > 1e-3, "{step:e}");
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / step
}

#[test]
fn a_model_that_cannot_be_edited_makes_the_recorded_step() {
    for device in devices() {
        let (model, batch) = (Classifier::new(&device), Batch::new(&device));
        let start = flat(&model);
        for name in AnyConfig::NAMES {
            let mut config: AnyConfig = name.parse().unwrap();
            match &mut config {
                AnyConfig::Sf(sf) => sf.solve.damping = Some(Damping::relative(0.1)),
                AnyConfig::Ngd(ngd) => {
                    ngd.classes = CLASSES;
                    ngd.solve.damping = Some(Damping::relative(0.1));
                }
                _ => {}
            }
            let mut single = config.init(&model);
            let stepped = single.step_by_sample(0.3, model.clone(), SAMPLES, |model, n| {
                let x = batch.x.clone().narrow(0, n, 1);
                let logits = mark_output(unedited(model, x, &batch, n));
                mark_loss(cross_entropy(logits, &batch.labels[n..n + 1]))
            });
            if name.ends_with("kfac") {
                assert!(matches!(stepped, Err(Error::BySample)), "{name}");
                continue;
            }
            let stepped = flat(&stepped.unwrap());
            let mut recorded = config.init(&model);
            let expected = recorded.step_closure(0.3, model.clone(), |model| {
                let logits = mark_output(batch.logits(model));
                mark_loss(cross_entropy(logits, &batch.labels))
            });
            let expected = flat(&expected.unwrap());
            let distance = distance(&start, &stepped, &expected);
            println!("{name}: {distance:e}");
            assert!(distance < 1e-10, "{name}: {distance:e}");
        }
    }
}
