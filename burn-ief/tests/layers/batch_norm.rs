use burn::module::{Module, ParamGroup};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::{Device, Tensor};
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
