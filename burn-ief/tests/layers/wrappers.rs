//! Burn's enums over layers, and what holds for every layer of few parameters.

use burn::module::{Module, ModuleMapper, Param, ParamGroup};
use burn::nn::activation::{Activation, ActivationConfig};
use burn::nn::conv::{
    Conv3d, Conv3dConfig, ConvTranspose2d, ConvTranspose2dConfig, DeformConv2d, DeformConv2dConfig,
};
use burn::nn::norm::{Normalization, NormalizationConfig};
use burn::nn::{
    BatchNormConfig, GroupNormConfig, InstanceNorm, InstanceNormConfig, LayerNormConfig, PRelu,
    PReluConfig, RmsNormConfig, SwiGlu, SwiGluConfig,
};
use burn::tensor::{DType, Device, Tensor};
use burn_ief::jacobian::RecordedBatch;
use burn_ief::nn::{DeformConvInput, ForwardRecorded, freeze_statistics};

use super::*;

#[test]
fn every_normalization() {
    let configs: Vec<NormalizationConfig> = vec![
        BatchNormConfig::new(4).into(),
        GroupNormConfig::new(2, 4).into(),
        InstanceNormConfig::new(4).into(),
        LayerNormConfig::new(4).into(),
        RmsNormConfig::new(4).into(),
    ];
    for device in devices() {
        let x = noise([SAMPLES, 4, 4], 80, &device);
        for config in &configs {
            let norm: Normalization = freeze_statistics(config.init(&device));
            check(&norm, |norm, range| {
                let x = x.clone().slice([range.clone()]);
                score(norm.forward_recorded(x), range)
            });
            same_bits(norm.forward_recorded(x.clone()), norm.forward(x.clone()));
        }
    }
}

#[test]
fn every_activation() {
    for device in devices() {
        let x = noise([SAMPLES, 4, 3], 81, &device);
        let configs: Vec<ActivationConfig> = vec![
            PReluConfig::new().with_num_parameters(4).into(),
            SwiGluConfig::new(3, 2).with_bias(true).into(),
        ];
        for config in configs {
            let layer: Activation = filled(config.init(&device), 82);
            check(&layer, |layer, range| {
                let x = x.clone().slice([range.clone()]);
                score(layer.forward_recorded(x), range)
            });
        }
        let (outside, inside) = outside_and_inside(|| {
            let layer = ActivationConfig::Gelu.init(&device);
            layer.forward_recorded(x.clone())
        });
        same_bits(inside, outside);
    }
}

/// One of each kind of layer that keeps the size of an image, several of them twice.
#[derive(Module, Debug)]
struct Chain {
    transposed: ConvTranspose2d,
    deformable: DeformConv2d,
    norm: InstanceNorm,
    prelu: PRelu,
    volume: Conv3d,
    swiglu: SwiGlu,
}

impl Chain {
    fn new(device: &Device) -> Self {
        let chain = Self {
            transposed: ConvTranspose2dConfig::new([2, 2], [3, 3])
                .with_padding([1, 1])
                .init(device),
            deformable: DeformConv2dConfig::new([2, 2], [1, 1]).init(device),
            norm: InstanceNormConfig::new(2).with_epsilon(0.2).init(device),
            prelu: PReluConfig::new().with_num_parameters(2).init(device),
            volume: Conv3dConfig::new([1, 2], [2, 1, 1]).init(device),
            swiglu: SwiGluConfig::new(4, 3).init(device),
        };
        filled(chain, 83)
    }

    /// `[M, 2, 4, 4]` to `[M, 2, 4, 3]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.transposed.forward_recorded(x).tanh();
        let x = self.transposed.forward_recorded(x);
        let x = self.norm.forward_recorded(x);
        // The offsets are computed from the input and lead to it.
        let offset = x.clone().tanh() * 0.4;
        let mask = x.clone().narrow(1, 0, 1).tanh();
        let x = DeformConvInput::new(x, offset).mask(mask);
        let x = self
            .prelu
            .forward_recorded(self.deformable.forward_recorded(x));
        let x = self.prelu.forward_recorded(self.norm.forward_recorded(x));
        let x = self.volume.forward_recorded(x.unsqueeze_dim::<5>(1));
        self.swiglu.forward_recorded(x.squeeze_dim::<4>(2))
    }
}

#[test]
fn layers_that_are_used_twice() {
    for device in devices() {
        let model = Chain::new(&device);
        let x = noise([SAMPLES, 2, 4, 4], 84, &device);
        check(&model, |model, range| {
            score(model.forward(x.clone().slice([range.clone()])), range)
        });
    }
}

#[test]
fn a_group_has_the_rows_of_its_own_parameters() {
    let device = Device::flex().autodiff();
    let model = Chain::new(&device);
    let x = noise([SAMPLES, 2, 4, 4], 85, &device);
    let record = |group: Option<&ParamGroup>| {
        let tape = Tape::start().with_loss_scale(LossScale::Sum);
        let grads = score(model.forward(x.clone()), 0..SAMPLES).backward();
        let batch = RecordedBatch::collect(tape, grads, &model, group).unwrap();
        batch.jacobian()
    };
    let all = record(None);
    let mut start = 0;
    for param in all.params() {
        let group = ParamGroup::from_predicate(&param.path);
        let own = record(Some(&group));
        let size = param.shape.num_elements();
        assert_eq!(own.columns(), size, "{}", param.path);
        for (row, expected) in own.to_dense().iter().zip(all.to_dense()) {
            close(row, &expected[start..start + size]);
        }
        start += size;
    }
    assert_eq!(start, all.columns());
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.inner().cast(self.0).autodiff().require_grad())
    }
}

/// The rows of a model in half precision are in f32, and close to those of its rounded parameters.
#[test]
fn rows_of_layers_in_half_precision() {
    let device = Device::flex().autodiff();
    let x: Tensor<4> = noise([SAMPLES, 2, 4, 4], 86, &device);
    for (dtype, tolerance) in [(DType::F16, 0.02), (DType::BF16, 0.15)] {
        let rounded = Chain::new(&device).map(&mut Cast(dtype));
        let record = |dtype: DType| {
            let model = rounded.clone().map(&mut Cast(dtype));
            let tape = Tape::start().with_loss_scale(LossScale::Sum);
            let y = model.forward(x.clone().cast(dtype));
            assert_eq!(y.dtype(), dtype);
            let grads = score(y.cast(DType::F32), 0..SAMPLES).backward();
            Jacobian::from_tape(tape, grads, &model).unwrap()
        };
        let (half, full) = (record(dtype), record(DType::F32));
        for (half, full) in half.to_dense().iter().zip(full.to_dense()) {
            let distance = distance(half, &full);
            assert!(distance < tolerance, "{dtype:?}: {distance:e}");
        }
    }
}
