//! Outside a recording: ordinary gradients.

use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use burn_ief::jacobian::Jacobian;
use proptest::prelude::*;

use super::model::{Case, Lm, cases, values};
use super::{close, config, double};

/// The gradient of a loss over all parameters, with zeros where there is none.
fn gradient(model: &Lm, loss: Tensor<1>) -> Vec<f64> {
    let rows = Jacobian::by_sample(model, 1, |_, _| loss.clone()).unwrap();
    rows.to_dense().concat()
}

fn weights(case: &Case, device: &Device) -> Tensor<1> {
    let weights: Vec<f64> = (0..case.samples).map(|n| 1.0 + n as f64).collect();
    Tensor::from_data(TensorData::new(weights, [case.samples]), device)
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn gradients_are_those_of_all_logits(case in cases()) {
        let device = double::device();
        let model = case.model(&device);
        let whole = || case.whole(&model, &device, 0, case.samples);
        let tokens: usize = case.answers().iter().map(Vec::len).sum();
        let scale = 1.0 / tokens.max(1) as f64;
        prop_assert_eq!(case.sliced(&model, &device).tokens(), tokens);
        // Every loss has a graph of its own.
        let sliced = || case.sliced(&model, &device);
        let weights = weights(&case, &device);
        let pairs = [
            (sliced().sum(), whole().sum()),
            (sliced().token_mean(), whole().sum() * scale),
            (sliced().mean(), whole().sum() * (1.0 / case.samples as f64)),
            // Every sample counts otherwise: the gradient of a trained head is no multiple of the sum's.
            (
                (sliced().per_sample() * weights.clone()).sum(),
                (whole() * weights).sum(),
            ),
        ];
        for (found, expected) in pairs {
            close(&values(found.clone()), &values(expected.clone()), 1e-12);
            close(&gradient(&model, found), &gradient(&model, expected), 1e-12);
        }
    }

    #[test]
    fn without_autodiff_there_are_losses_alone(case in cases()) {
        use burn::module::Module;
        let device = double::device();
        let model = case.model(&device).valid();
        let device = device.inner();
        let found = case.sliced(&model, &device);
        let expected = case.whole(&model, &device, 0, case.samples);
        close(&values(found.per_sample()), &values(expected), 1e-12);
        // The label has the largest logit as often as with all logits.
        let hidden = case.hidden(&model, case.ids(&device));
        let logits = case.head(&model).logits(hidden);
        let logits = values(logits);
        let hits: Vec<f64> = case.answers().iter().enumerate().map(|(n, line)| {
            line.iter().filter(|(position, label)| {
                let start = (n * case.positions + position) * case.vocabulary;
                let row = &logits[start..start + case.vocabulary];
                row.iter().all(|z| *z <= row[*label])
            }).count() as f64
        }).collect();
        close(&values(found.correct()), &hits, 0.0);
    }
}

#[test]
fn a_loss_without_answers_has_gradients_of_zero() {
    let device = double::device();
    let layer = burn::nn::LinearConfig::new(3, 5).init(&device);
    let hidden = Tensor::<3>::ones([2, 4, 3], &device);
    let labels = Tensor::from_data([[-100; 4]; 2], &device);
    let head = burn_ief::VocabularyHead::linear(&layer);
    let losses = burn_ief::token_cross_entropy(hidden, labels, &head).unwrap();
    let loss = losses.token_mean();
    assert_eq!(values(loss.clone()), [0.0]);
    let grads = GradientsParams::from_grads(loss.backward(), &layer);
    let weight = grads.get::<2>(layer.weight.id).unwrap();
    assert_eq!(values(weight.abs().max()), [0.0]);
}
