use burn::module::{Module, ParamGroup};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};
use burn_ief::jacobian::RecordedBatch;
use burn_ief::nn::ForwardRecorded;
use burn_ief::{Error, Tape};

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
