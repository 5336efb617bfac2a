use burn::module::Module;
use burn::nn::{
    GroupNorm, GroupNormConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, RmsNorm,
    RmsNormConfig,
};
use burn::tensor::{DType, Device, Tensor};
use burn_ief::nn::ForwardRecorded;

use super::*;

/// Layer norm (used twice), RMS norm and a linear layer, over vectors or sequences.
#[derive(Module, Debug)]
struct Norms {
    layer: LayerNorm,
    linear: Linear,
    rms: RmsNorm,
}

impl Norms {
    fn new(bias: bool, device: &Device) -> Self {
        // An epsilon that shows.
        let layer = LayerNormConfig::new(6).with_epsilon(0.3).with_bias(bias);
        let norms = Self {
            layer: layer.init(device),
            linear: LinearConfig::new(6, 6).init(device),
            rms: RmsNormConfig::new(6).with_epsilon(0.2).init(device),
        };
        filled(norms, 10)
    }

    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = self.layer.forward_recorded(x);
        let x = self.linear.forward_recorded(x).tanh();
        self.rms.forward_recorded(self.layer.forward_recorded(x))
    }
}

fn check_norms(model: &Norms, device: &Device) {
    let vectors = noise([SAMPLES, 6], 11, device);
    check(model, |model, range| {
        score(model.forward(vectors.clone().slice([range.clone()])), range)
    });
    let sequences = noise([SAMPLES, 3, 2, 6], 12, device);
    check(model, |model, range| {
        score(
            model.forward(sequences.clone().slice([range.clone()])),
            range,
        )
    });
}

#[test]
fn layer_and_rms_norm() {
    for device in devices() {
        check_norms(&Norms::new(true, &device), &device);
        check_norms(&Norms::new(false, &device), &device);
    }
}

#[test]
fn frozen_scale_or_shift() {
    for device in devices() {
        let mut model = Norms::new(true, &device);
        model.layer.gamma = frozen(model.layer.gamma);
        check_norms(&model, &device);

        let mut model = Norms::new(true, &device);
        model.layer.beta = model.layer.beta.map(frozen);
        model.rms.gamma = frozen(model.rms.gamma);
        check_norms(&model, &device);

        model.layer.gamma = frozen(model.layer.gamma);
        check_norms(&model, &device);
    }
}

#[derive(Module, Debug)]
struct Groups {
    linear: Linear,
    norm: GroupNorm,
}

impl Groups {
    fn new(affine: bool, device: &Device) -> Self {
        let norm = GroupNormConfig::new(2, 4)
            .with_epsilon(0.3)
            .with_affine(affine);
        let model = Self {
            linear: LinearConfig::new(5, 5).init(device),
            norm: norm.init(device),
        };
        filled(model, 13)
    }

    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = self.norm.forward_recorded(x);
        self.norm.forward_recorded(self.linear.forward_recorded(x))
    }
}

fn check_groups(model: &Groups, device: &Device) {
    let lines = noise([SAMPLES, 4, 5], 14, device);
    check(model, |model, range| {
        score(model.forward(lines.clone().slice([range.clone()])), range)
    });
    let images = noise([SAMPLES, 4, 3, 5], 15, device);
    check(model, |model, range| {
        score(model.forward(images.clone().slice([range.clone()])), range)
    });
}

#[test]
fn group_norm() {
    for device in devices() {
        check_groups(&Groups::new(true, &device), &device);
        check_groups(&Groups::new(false, &device), &device);
        let mut model = Groups::new(true, &device);
        model.norm.gamma = model.norm.gamma.map(frozen);
        check_groups(&model, &device);
        let mut model = Groups::new(true, &device);
        model.norm.beta = model.norm.beta.map(frozen);
        check_groups(&model, &device);
    }
}

#[test]
fn outside_and_frozen_they_are_burns_forward() {
    let device = Device::flex().autodiff();
    let x = noise([SAMPLES, 4, 6], 16, &device);
    let model = Norms::new(true, &device);
    let group = filled(GroupNormConfig::new(2, 4).init(&device), 17);
    same_bits(
        model.layer.forward_recorded(x.clone()),
        model.layer.forward(x.clone()),
    );
    same_bits(
        model.rms.forward_recorded(x.clone()),
        model.rms.forward(x.clone()),
    );
    same_bits(group.forward_recorded(x.clone()), group.forward(x.clone()));

    let (model, group) = (model.freeze(), group.freeze());
    let tape = Tape::start();
    same_bits(
        model.layer.forward_recorded(x.clone()),
        model.layer.forward(x.clone()),
    );
    same_bits(
        model.rms.forward_recorded(x.clone()),
        model.rms.forward(x.clone()),
    );
    same_bits(group.forward_recorded(x.clone()), group.forward(x.clone()));
    drop(tape);
}

#[test]
fn half_precision_is_widened_where_burn_widens() {
    let device = Device::flex().autodiff();
    let half = |x: Tensor<3>| x.cast(DType::F16);
    // Squares of 400 overflow f16.
    let x = half(noise([SAMPLES, 4, 6], 18, &device) * 400.0);
    let mut layer = LayerNormConfig::new(6).with_bias(false).init(&device);
    layer.gamma = Param::from_tensor(noise([6], 19, &device).cast(DType::F16));
    let (outside, inside) = outside_and_inside(|| layer.forward_recorded(x.clone()));
    assert_eq!(inside.dtype(), DType::F16);
    let (outside, inside) = (values(outside), values(inside));
    assert!(inside.iter().all(|x| x.is_finite()));
    // One rounding to f16 may fall the other way: 2⁻¹¹ relative.
    assert!(distance(&inside, &outside) < 5e-4);
}
