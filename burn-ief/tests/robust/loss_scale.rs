//! The check of the loss scale: it stops no legitimate loss, and finds wrong reductions.

use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::activation::log_softmax;
use burn_ief::Error;

use super::*;

/// Losses `[M]` of the samples, from logits and labels.
type Losses = fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>;

fn own(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let picked = log_softmax(logits, 1).gather(1, labels.unsqueeze_dim(1));
    -picked.squeeze_dim::<1>(1)
}

fn smoothed(logits: Tensor<2>, labels: Tensor<1, Int>, epsilon: f64) -> Tensor<1> {
    let even = -log_softmax(logits.clone(), 1)
        .mean_dim(1)
        .squeeze_dim::<1>(1);
    own(logits, labels) * (1.0 - epsilon) + even * epsilon
}

/// Focal loss (Lin et al. 2017, arXiv 1708.02002).
fn focal(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let loss = own(logits, labels);
    let rest = -(loss.clone().neg().exp()) + 1.0;
    rest.powf_scalar(2.0) * loss
}

const LEGITIMATE: [(&str, Losses); 8] = [
    ("smoothing 0.05", |z, y| smoothed(z, y, 0.05)),
    ("smoothing 0.1", |z, y| smoothed(z, y, 0.1)),
    ("smoothing 0.2", |z, y| smoothed(z, y, 0.2)),
    ("temperature 2", |z, y| own(z / 2.0, y)),
    ("temperature 0.5", |z, y| own(z / 0.5, y)),
    ("temperature 5", |z, y| own(z / 5.0, y)),
    ("focal", focal),
    ("plain", own),
];

#[test]
fn legitimate_losses_pass_from_the_first_step() {
    let device = device();
    for classes in [2usize, 6, 10, 100, 1000] {
        for (spread, width) in [(0.0, 16), (0.002, 384), (0.02, 384), (0.02, 64), (0.2, 64)] {
            let samples = 16.max(classes.min(64));
            let x = normal(samples, width, &device);
            let y: Vec<i64> = (0..samples).map(|n| (n % classes) as i64).collect();
            let y = labels(&y, &device);
            let mut model = layer(width, classes, &device);
            model.weight = model
                .weight
                .map(|w| w.random_like(Distribution::Normal(0.0, 1.0)).detach() * spread)
                .set_require_grad(true);
            model.bias = None;
            for (name, losses) in LEGITIMATE {
                let mut optim = IefConfig::new().init(&model);
                let step = optim.step_closure(0.1, model.clone(), |model| {
                    losses(mark_output(model.forward_recorded(x.clone())), y.clone()).mean()
                });
                assert!(
                    step.is_ok(),
                    "{name}, {classes} classes, logits {spread}: {}",
                    step.unwrap_err()
                );
            }
        }
    }
}

#[test]
fn class_weights_pass() {
    let device = device();
    let model = layer(8, 4, &device);
    let y: Vec<i64> = (0..32).map(|n| n % 4).collect();
    let (x, y) = (normal(32, 8, &device), labels(&y, &device));
    let weights = vec![1.0, 2.0, 5.0, 0.5];
    let total = 8.0 * weights.iter().sum::<f32>();
    let mut optim = IefConfig::new().init(&model);
    let tape = optim
        .start()
        .with_loss_scale(LossScale::Factor(1.0 / f64::from(total)));
    let logits = mark_output(model.forward_recorded(x));
    let loss = CrossEntropyLossConfig::new()
        .with_weights(Some(weights))
        .init(&device)
        .forward(logits, y);
    assert!(optim.gradients(tape, loss.backward(), &model).is_ok());
}

#[test]
fn wrong_reductions_are_found() {
    let device = device();
    for (samples, classes) in [(8usize, 3usize), (32, 10), (20, 5)] {
        let model = layer(12, classes, &device);
        let y: Vec<i64> = (0..samples).map(|n| (n % classes) as i64).collect();
        let (x, y) = (normal(samples, 12, &device), labels(&y, &device));
        let step = |declared: LossScale, used: f64| {
            let mut optim = IefConfig::new().init(&model);
            let tape = optim.start().with_loss_scale(declared);
            let losses = own(mark_output(model.forward_recorded(x.clone())), y.clone());
            let grads = (losses.sum() * used).backward();
            optim.gradients(tape, grads, &model).err()
        };
        let mean = 1.0 / samples as f64;
        assert_eq!(step(LossScale::Mean, mean), None);
        assert_eq!(step(LossScale::Sum, 1.0), None);
        for (declared, used) in [(LossScale::Mean, 1.0), (LossScale::Sum, mean)] {
            match step(declared, used) {
                Some(Error::LossScale { found, .. }) => {
                    assert!((found / used - 1.0).abs() < 1e-3, "{found} {used}");
                }
                other => panic!("{declared:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_mean_over_tokens_is_found() {
    let device = device();
    let model = layer(12, 6, &device);
    let (samples, positions) = (8, 5);
    let x = Tensor::<3>::random([samples, positions, 12], Distribution::Default, &device) * 2.0;
    let y: Vec<i64> = (0..40).map(|n| n % 6).collect();
    let y = labels(&y, &device);
    let mut optim = IefConfig::new().init(&model);
    // The loss of a sample is the sum over its tokens, so the scale is 1/40 and not 1/8.
    let tape = optim.start();
    let logits = mark_output(model.forward_recorded(x));
    let loss = own(logits.reshape([40, 6]), y).mean();
    let error = optim.gradients(tape, loss.backward(), &model).unwrap_err();
    let Error::LossScale { found, .. } = error else {
        panic!("{error}");
    };
    assert!((found * 40.0 - 1.0).abs() < 1e-3, "{found}");
}
