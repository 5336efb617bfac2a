use burn::nn::conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig};
use burn::nn::{PaddingConfig1d, PaddingConfig2d};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;

use super::*;

fn check_1d(conv: &Conv1d, channels: usize, length: usize, device: &Device) {
    let x = noise([SAMPLES, channels, length], 20, device);
    check(conv, |conv, range| {
        score(
            conv.forward_recorded(x.clone().slice([range.clone()])),
            range,
        )
    });
    same_bits(conv.forward_recorded(x.clone()), conv.forward(x.clone()));
    let (outside, inside) = outside_and_inside(|| conv.forward_recorded(x.clone()));
    close(&values(inside), &values(outside));
}

fn check_2d(conv: &Conv2d, channels: usize, [height, width]: [usize; 2], device: &Device) {
    let x = noise([SAMPLES, channels, height, width], 21, device);
    check(conv, |conv, range| {
        score(
            conv.forward_recorded(x.clone().slice([range.clone()])),
            range,
        )
    });
    same_bits(conv.forward_recorded(x.clone()), conv.forward(x.clone()));
    let (outside, inside) = outside_and_inside(|| conv.forward_recorded(x.clone()));
    close(&values(inside), &values(outside));
}

/// Each option of `Conv1d`, alone and together.
fn configs_1d() -> Vec<Conv1dConfig> {
    let plain = Conv1dConfig::new(4, 6, 3);
    vec![
        plain.clone(),
        plain.clone().with_bias(false),
        plain.clone().with_stride(2).with_dilation(2),
        plain.clone().with_padding(PaddingConfig1d::Explicit(2, 0)),
        // An even kernel under `Same` pads one side more.
        Conv1dConfig::new(4, 6, 4).with_padding(PaddingConfig1d::Same),
        plain
            .clone()
            .with_padding(PaddingConfig1d::Same)
            .with_stride(3),
        plain.clone().with_groups(2),
        Conv1dConfig::new(4, 8, 2)
            .with_groups(4)
            .with_stride(2)
            .with_padding(PaddingConfig1d::Explicit(1, 2)),
        Conv1dConfig::new(4, 6, 1),
    ]
}

fn configs_2d() -> Vec<Conv2dConfig> {
    let plain = Conv2dConfig::new([4, 6], [3, 2]);
    vec![
        plain.clone(),
        plain.clone().with_bias(false),
        plain.clone().with_stride([2, 1]).with_dilation([1, 2]),
        plain
            .clone()
            .with_padding(PaddingConfig2d::Explicit(1, 0, 2, 3)),
        plain.clone().with_padding(PaddingConfig2d::Same),
        Conv2dConfig::new([4, 6], [4, 2])
            .with_padding(PaddingConfig2d::Same)
            .with_stride([3, 2]),
        plain.clone().with_groups(2),
        Conv2dConfig::new([4, 4], [2, 3])
            .with_groups(4)
            .with_stride([2, 2])
            .with_padding(PaddingConfig2d::Explicit(0, 1, 1, 0))
            .with_bias(false),
        Conv2dConfig::new([4, 6], [1, 1]),
    ]
}

#[test]
fn conv1d_with_every_option() {
    for device in devices() {
        for config in configs_1d() {
            check_1d(&filled(config.init(&device), 22), 4, 11, &device);
        }
    }
}

#[test]
fn conv2d_with_every_option() {
    for device in devices() {
        for config in configs_2d() {
            check_2d(&filled(config.init(&device), 23), 4, [8, 7], &device);
        }
    }
}

#[test]
fn many_channels_and_few_positions() {
    // The factored form: 4 positions of 8 + 6·3 entries against a kernel of 8·18.
    for device in devices() {
        let conv = filled(Conv1dConfig::new(6, 8, 3).init(&device), 24);
        check_1d(&conv, 6, 6, &device);
        let conv = filled(Conv2dConfig::new([6, 8], [2, 2]).init(&device), 25);
        check_2d(&conv, 6, [3, 3], &device);
        let config = Conv2dConfig::new([6, 8], [2, 2]).with_bias(false);
        check_2d(&filled(config.init(&device), 26), 6, [3, 3], &device);
    }
}

#[test]
fn a_kernel_used_at_two_sizes() {
    // Once with dense rows, once factored: the cross terms mix the forms.
    let device = Device::flex().autodiff();
    let config = Conv2dConfig::new([6, 6], [2, 2]);
    let conv = filled(config.init(&device), 27);
    let x = noise([SAMPLES, 6, 8, 8], 28, &device);
    check(&conv, |conv, range| {
        let x = x.clone().slice([range.clone()]);
        let large = conv.forward_recorded(x);
        let small = large.clone().slice([0..range.len(), 0..6, 0..3, 0..3]);
        let small = conv.forward_recorded(small.tanh());
        score(large, range.clone()) + score(small, range)
    });
}

#[test]
fn frozen_kernel_or_bias() {
    for device in devices() {
        let new = || filled(Conv2dConfig::new([4, 6], [3, 2]).init(&device), 29);
        let mut conv = new();
        conv.weight = frozen(conv.weight);
        check_2d(&conv, 4, [8, 7], &device);
        let mut conv = new();
        conv.bias = conv.bias.map(frozen);
        check_2d(&conv, 4, [8, 7], &device);

        let new = || filled(Conv1dConfig::new(4, 6, 3).init(&device), 30);
        let mut conv = new();
        conv.weight = frozen(conv.weight);
        check_1d(&conv, 4, 9, &device);
        let mut conv = new();
        conv.bias = conv.bias.map(frozen);
        check_1d(&conv, 4, 9, &device);
        let x: Tensor<3> = noise([SAMPLES, 4, 9], 31, &device);
        conv.weight = frozen(conv.weight);
        let (outside, inside) = outside_and_inside(|| conv.forward_recorded(x.clone()));
        same_bits(inside, outside);
    }
}
