//! Batch norm: refused in training mode where it couples samples, exact with frozen statistics.

use burn::module::{Module, ParamGroup, RunningState};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig};
use burn::tensor::{Device, Tensor};
use burn_ief::jacobian::RecordedBatch;
use burn_ief::nn::{ForwardRecorded, freeze_statistics, unfreeze_statistics};
use burn_ief::prelude::{EfConfig, InitOptimizer};
use burn_ief::{Error, LabelDraw, Tape, mark_loss, mark_output};

use super::*;

#[derive(Module, Debug)]
struct Stem {
    conv: Conv2d,
    norm: BatchNorm,
}

#[derive(Module, Debug)]
struct Net {
    stem: Stem,
    head: Conv2d,
}

impl Net {
    fn new(device: &Device) -> Self {
        let model = Self {
            stem: Stem {
                conv: Conv2dConfig::new([2, 3], [2, 2]).init(device),
                norm: BatchNormConfig::new(3).init(device),
            },
            head: Conv2dConfig::new([3, 2], [2, 2]).init(device),
        };
        // Running statistics keep their positive variance.
        let stem = filled(model.stem.conv.clone(), 50);
        Self {
            stem: Stem {
                conv: stem,
                norm: model.stem.norm,
            },
            head: filled(model.head, 51),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.stem.conv.forward_recorded(x);
        let x = self.stem.norm.forward(x).tanh();
        self.head.forward_recorded(x)
    }
}

#[test]
fn training_batch_norm_is_an_error_with_its_path() {
    let device = Device::flex().autodiff();
    let model = Net::new(&device);
    let x = noise([SAMPLES, 2, 5, 5], 52, &device);
    let tape = Tape::start();
    let grads = score(model.forward(x), 0..SAMPLES).backward();
    let error = Jacobian::from_tape(tape, grads, &model).unwrap_err();
    let expected = Error::BatchNorm {
        module: "stem.norm".into(),
    };
    assert_eq!(error, expected);
}

#[test]
fn a_frozen_batch_norm_is_fine() {
    let device = Device::flex().autodiff();
    let model = Net::new(&device).freeze_group(ParamGroup::from_predicate("stem.norm"));
    let x = noise([SAMPLES, 2, 5, 5], 53, &device);
    let jacobian = check(&model, |model, range| {
        score(model.forward(x.clone().slice([range.clone()])), range)
    });
    assert_eq!(jacobian.params().len(), 4);
}

/// What comes after a BatchNorm has per-sample gradients, whatever the BatchNorm does.
#[test]
fn layers_behind_a_training_batch_norm_can_be_trained() {
    let device = Device::flex().autodiff();
    let model = Net::new(&device);
    let x = noise([SAMPLES, 2, 5, 5], 54, &device);
    let hidden = model
        .stem
        .norm
        .forward(model.stem.conv.forward(x.clone()))
        .tanh()
        .detach();
    let alone = {
        let tape = Tape::start();
        let grads = score(model.head.forward_recorded(hidden), 0..SAMPLES).backward();
        Jacobian::from_tape(tape, grads, &model.head).unwrap()
    };
    let expected = alone.gram().unwrap();
    // The front is frozen, BatchNorm with it but for its flag; or a group leaves both out.
    let frozen = |mut model: Net| {
        model.stem.conv = model.stem.conv.no_grad();
        model.stem.norm = model.stem.norm.no_grad();
        model
    };
    let group = ParamGroup::from_predicate("head");
    for (model, group) in [(frozen(model.clone()), None), (model, Some(&group))] {
        let tape = Tape::start();
        let grads = score(model.forward(x.clone()), 0..SAMPLES).backward();
        let recorded = RecordedBatch::collect(tape, grads, &model, group).unwrap();
        let gram = recorded.jacobian().gram().unwrap();
        let difference = gram.values().iter().zip(expected.values());
        let difference = difference.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(difference < 1e-4 * expected.mean_diagonal(), "{difference}");
    }
}

#[derive(Module, Debug)]
struct Misordered {
    norm: BatchNorm,
    head: Conv2d,
    conv: Conv2d,
}

/// The order of the fields is not the order of the calls, so it says nothing about what is in front.
#[test]
fn an_order_of_fields_that_the_calls_contradict_is_not_trusted() {
    let device = Device::flex().autodiff();
    let Net { stem, head } = Net::new(&device);
    let norm = stem.norm.no_grad();
    let model = Misordered {
        norm,
        head,
        conv: stem.conv,
    };
    let x = noise([SAMPLES, 2, 5, 5], 55, &device);
    let tape = Tape::start();
    let hidden = model.conv.forward_recorded(x);
    let z = model
        .head
        .forward_recorded(model.norm.forward(hidden).tanh());
    let grads = score(z, 0..SAMPLES).backward();
    let error = Jacobian::from_tape(tape, grads, &model).unwrap_err();
    let expected = Error::BatchNorm {
        module: "norm".into(),
    };
    assert_eq!(error, expected);
}

/// The recorded call of a BatchNorm in training mode is Burn's, and refused like it.
#[test]
fn a_recorded_call_in_training_mode_is_refused() {
    let device = Device::flex().autodiff();
    let model = Net::new(&device);
    let x = noise([SAMPLES, 2, 5, 5], 56, &device);
    let tape = Tape::start();
    let x = model.stem.conv.forward_recorded(x);
    let x = model.stem.norm.forward_recorded(x).tanh();
    let grads = score(model.head.forward_recorded(x), 0..SAMPLES).backward();
    let error = Jacobian::from_tape(tape, grads, &model).unwrap_err();
    assert!(matches!(error, Error::BatchNorm { .. }), "{error}");
}

/// A pass over one sample would take the statistics of that sample, and average them into the stored ones.
#[test]
fn passes_over_one_sample_are_refused_in_training_mode() {
    let device = Device::flex().autodiff();
    let net = Net::new(&device);
    let x = noise([SAMPLES, 2, 5, 5], 57, &device);
    let loss = |net: &Net, n: usize| score(net.forward(x.clone().narrow(0, n, 1)), n..n + 1);
    let before = statistics(&net.stem.norm);
    let expected = Error::BatchNorm {
        module: "stem.norm".into(),
    };
    let error = Jacobian::by_sample(&net, SAMPLES, loss).unwrap_err();
    assert_eq!(error, expected);
    let mut optim = EfConfig::new().init(&net);
    let stepped = optim.step_by_sample(0.1, net.clone(), SAMPLES, loss);
    assert_eq!(stepped.unwrap_err(), expected);
    assert_eq!(statistics(&net.stem.norm), before);

    let frozen = freeze_statistics(net);
    assert!(optim.step_by_sample(0.1, frozen, SAMPLES, loss).is_ok());
}

/// Scale and shift with normal entries; statistics of their own.
fn filled_norm(features: usize, seed: u64, device: &Device) -> BatchNorm {
    let mut norm = BatchNormConfig::new(features).init(device);
    norm.gamma = filled(norm.gamma, seed);
    norm.beta = filled(norm.beta, seed + 1);
    norm.running_mean = RunningState::new(noise([features], seed + 2, device));
    norm.running_var = RunningState::new(noise([features], seed + 3, device).abs() + 0.3);
    norm
}

fn statistics(norm: &BatchNorm) -> [Vec<f64>; 2] {
    [&norm.running_mean, &norm.running_var].map(|state| values(state.value_sync()))
}

#[test]
fn frozen_statistics_are_used_as_they_are() {
    for device in devices() {
        let mut net = Net::new(&device);
        net.stem.norm = filled_norm(3, 58, &device);
        let net = freeze_statistics(net);
        let before = statistics(&net.stem.norm);
        let x = noise([SAMPLES, 2, 5, 5], 59, &device);
        let forward = |net: &Net, x: Tensor<4>| {
            let x = net.stem.conv.forward_recorded(x);
            let x = net.stem.norm.forward_recorded(x).tanh();
            net.head.forward_recorded(x)
        };
        let jacobian = check(&net, |net, range| {
            score(forward(net, x.clone().slice([range.clone()])), range)
        });
        // Two kernels and biases, scale and shift.
        assert_eq!(jacobian.params().len(), 6);
        let (outside, inside) = outside_and_inside(|| forward(&net, x.clone()));
        close(&values(inside), &values(outside));
        assert_eq!(statistics(&net.stem.norm), before);
        // In evaluation they are the same.
        let valid = values(net.valid().forward(x.clone().inner()));
        close(&valid, &values(net.forward(x)));
    }
}

/// Burn keeps the last update of the statistics back until the next one. Freezing applies it.
#[test]
fn freezing_applies_the_last_update_of_the_statistics() {
    let device = Device::flex().autodiff();
    // With a momentum of 1 the statistics are those of the last batch, with the biased variance.
    let norm = BatchNormConfig::new(2).with_momentum(1.0).init(&device);
    let x: Tensor<4> = noise([2, 2, 2, 2], 70, &device);
    norm.forward(noise([2, 2, 2, 2], 71, &device));
    let trained = norm.forward(x.clone());
    let norm = freeze_statistics(norm);
    let flat = x.clone().swap_dims(0, 1).reshape([2, 8]);
    let mean: Tensor<1> = flat.clone().mean_dim(1).squeeze_dim(1);
    let variance: Tensor<1> = flat.var_bias(1).squeeze_dim(1);
    close(&values(norm.running_mean.value()), &values(mean));
    close(&values(norm.running_var.value()), &values(variance));
    close(&values(norm.forward_recorded(x.clone())), &values(trained));

    // A step with frozen statistics does not update them once more.
    let before = statistics(&norm);
    let tape = Tape::start();
    let grads = norm.forward_recorded(x).square().sum().backward();
    Jacobian::from_tape(tape, grads, &norm).unwrap();
    drop(norm.valid());
    assert_eq!(statistics(&norm), before);
}

#[test]
fn unfreezing_is_the_inverse_of_freezing() {
    let device = Device::flex().autodiff();
    let model = freeze_statistics(Net::new(&device));
    assert!(!model.stem.norm.training.is_enabled());
    let gamma = &model.stem.norm.gamma;
    assert!(gamma.is_require_grad());
    let model = unfreeze_statistics(model);
    assert!(model.stem.norm.training.is_enabled());
}

/// Dropout has a training flag too, which stays as it is.
#[test]
fn only_batch_norms_are_frozen() {
    #[derive(Module, Debug)]
    struct Both {
        norm: BatchNorm,
        dropout: Dropout,
    }
    let device = Device::flex().autodiff();
    let both = Both {
        norm: BatchNormConfig::new(2).init(&device),
        dropout: DropoutConfig::new(0.5).init(),
    };
    let both = freeze_statistics(both);
    let x = Tensor::<2>::ones([8, 64], &device);
    let zeros = both.dropout.forward(x).equal_elem(0.0).int().sum();
    assert!(zeros.into_scalar::<i64>() > 0);
    assert!(!both.norm.training.is_enabled());
}

/// A step that trains the head updates the statistics in front of it as any other training does, with
/// copies for drawn labels as well.
#[test]
fn statistics_are_updated_once_with_and_without_a_recording() {
    let device = Device::flex().autodiff();
    let x = noise([SAMPLES, 2, 5, 5], 72, &device);
    let group = ParamGroup::from_predicate("head");
    let run = |record: bool, draw: Option<LabelDraw>| {
        let model = Net::new(&device);
        let recorded = |model: &Net, x: Tensor<4>| {
            let x = model.stem.conv.forward_recorded(x);
            let x = model.stem.norm.forward_recorded(x).tanh();
            let z = model.head.forward_recorded(x);
            mark_output(z.mean_dim(3).mean_dim(2).squeeze_dims::<2>(&[2, 3]))
        };
        let copies = draw.is_some();
        let tape = record.then(|| draw.map_or_else(Tape::start, Tape::with_drawn_labels));
        let z = recorded(&model, x.clone());
        let loss = mark_loss(z.square().sum_dim(1).mean());
        let grads = loss.backward();
        if let Some(tape) = tape {
            let batch = RecordedBatch::collect(tape, grads, &model, Some(&group)).unwrap();
            let rows = batch.all_rows().to_dense().len();
            assert_eq!(rows, if copies { 3 * SAMPLES } else { SAMPLES });
        }
        statistics(&model.stem.norm)
    };
    device.seed(3);
    let plain = run(false, None);
    device.seed(3);
    assert_eq!(run(true, None), plain);
    device.seed(3);
    let [mean, variance] = run(true, Some(LabelDraw::sample(2, 1, 0)));
    close(&mean, &plain[0]);
    close(&variance, &plain[1]);
}
