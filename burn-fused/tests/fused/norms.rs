//! Layer norm and RMS norm.

use burn::nn::{LayerNormConfig, RmsNormConfig};
use burn::tensor::{DType, Device, Tensor, module};
use burn_flex_fused::{ForwardFused, layer_norm, rms_norm};
use proptest::prelude::*;

use crate::harness::{Case, check, check_large, config, error, host};

fn fused_layer(x: &[Tensor<1>], width: usize, epsilon: f64) -> Tensor<1> {
    let rows = x[0].dims()[0] / width;
    let beta = x.get(2).cloned();
    layer_norm(
        x[0].clone().reshape([rows, width]),
        x[1].clone(),
        beta,
        epsilon,
    )
    .flatten(0, 1)
}

fn own_layer(x: &[Tensor<1>], width: usize, epsilon: f64) -> Tensor<1> {
    let rows = x[0].dims()[0] / width;
    let (input, beta) = (x[0].clone().reshape([rows, width]), x.get(2).cloned());
    module::layer_norm(input, x[1].clone(), beta, epsilon).flatten(0, 1)
}

fn fused_rms(x: &[Tensor<1>], width: usize, epsilon: f64) -> Tensor<1> {
    let rows = x[0].dims()[0] / width;
    rms_norm(x[0].clone().reshape([rows, width]), x[1].clone(), epsilon).flatten(0, 1)
}

fn own_rms(x: &[Tensor<1>], width: usize, epsilon: f64) -> Tensor<1> {
    let rows = x[0].dims()[0] / width;
    let x0: Tensor<2> = x[0].clone().reshape([rows, width]);
    let rms = (x0.clone().square().mean_dim(1) + epsilon).sqrt();
    ((x0 / rms) * x[1].clone().unsqueeze()).flatten(0, 1)
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn layer_norms_are_burns(
        rows in 1usize..70,
        width in 2usize..70,
        size in 0.1f64..20.0,
        seed in 0u64..1000,
        shifted in any::<bool>(),
        tracked in 0usize..8,
    ) {
        let sizes = [rows * width, width, width];
        let sizes = if shifted { &sizes[..] } else { &sizes[..2] };
        let case = Case::random(sizes, size, seed).with_tracked(tracked);
        check(&case, &|x| fused_layer(x, width, 1e-5), &|x| own_layer(x, width, 1e-5));
    }

    #[test]
    fn rms_norms_are_burns(
        rows in 1usize..70,
        width in 1usize..70,
        size in 0.1f64..20.0,
        seed in 0u64..1000,
        tracked in 0usize..4,
    ) {
        let case = Case::random(&[rows * width, width], size, seed).with_tracked(tracked);
        check(&case, &|x| fused_rms(x, width, 1e-6), &|x| own_rms(x, width, 1e-6));
    }
}

#[test]
fn one_feature_and_other_ranks() {
    let device = Device::flex().autodiff();
    // A row of one feature has no variance.
    let x = Tensor::<4>::ones([2, 1, 3, 1], &device) * 5.0;
    let y = layer_norm(x, Tensor::ones([1], &device), None, 1e-5);
    assert_eq!(host(y), [0.0; 6]);
    let x = Tensor::<1>::from_floats([3.0, -3.0], &device);
    assert_eq!(
        host(layer_norm(x, Tensor::ones([2], &device), None, 0.0)),
        [1.0, -1.0]
    );
    let empty = Tensor::<2>::zeros([0, 3], &device);
    assert_eq!(
        layer_norm(empty, Tensor::ones([3], &device), None, 1e-5).dims(),
        [0, 3]
    );
}

#[test]
fn frozen_parameters_off_the_tape_and_strided_inputs() {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let x = Case::random(&[60], 3.0, 5).inputs.remove(0);
    let x: Vec<f32> = x.into_iter().map(|x| x as f32).collect();
    let x = Tensor::<1>::from_floats(x.as_slice(), &device).require_grad();
    let gamma = Tensor::<1>::from_floats([1.0, 2.0, -1.0, 0.5, 0.0, 3.0], &plain);
    let view = || x.clone().reshape([6, 10]).transpose();
    let run = |y: Tensor<2>| {
        let grads = (y.clone() * y.clone()).sum().backward();
        (host(y.inner()), host(x.grad(&grads).unwrap()))
    };
    let (y, grad) = run(layer_norm(view(), gamma.clone(), Some(gamma.clone()), 1e-5));
    let expected = run(module::layer_norm(
        view(),
        gamma.clone(),
        Some(gamma.clone()),
        1e-5,
    ));
    assert!(error(&y, &expected.0) < 1e-6 && error(&grad, &expected.1) < 1e-5);
    // Off the tape everything runs on the plain device.
    let y = rms_norm(view().inner(), gamma.clone(), 1e-5);
    let expected = rms_norm(view(), gamma, 1e-5).inner();
    assert_eq!(host(y), host(expected));
}

#[test]
fn burns_layers_are_burns_layers() {
    let device = Device::flex().autodiff();
    let x = Tensor::<3>::from_floats([[[0.3, -1.0, 2.0], [4.0, 5.0, 7.0]]], &device).require_grad();
    let norm = LayerNormConfig::new(3).with_epsilon(0.1).init(&device);
    let rms = RmsNormConfig::new(3).with_epsilon(0.1).init(&device);
    let difference = norm.forward_fused(x.clone()) - norm.forward(x.clone());
    assert!(host(difference).iter().all(|x| x.abs() < 1e-6));
    let difference = rms.forward_fused(x.clone()) - rms.forward(x.clone());
    assert!(host(difference).iter().all(|x| x.abs() < 1e-6));
    // Trained: the layer is on the tape.
    let grads = norm.forward_fused(x.clone()).sum().backward();
    assert_eq!(
        host(norm.beta.as_ref().unwrap().grad(&grads).unwrap()),
        [2.0; 3]
    );
    // In f16 and f64 Burn's own passes.
    let half = norm.forward_fused(x.clone().cast(DType::F16));
    assert_eq!(half.dtype(), DType::F16);
    let (mut double, x) = (rms.clone(), x.cast(DType::F64));
    double.gamma = double.gamma.map(|gamma| gamma.cast(DType::F64));
    let difference = double.forward_fused(x.clone()) - double.forward(x);
    assert_eq!(host(difference), [0.0; 6]);
}

#[test]
fn extreme_rows() {
    for dtype in [DType::F32, DType::F64] {
        let device = Device::flex();
        let rows = [[1e4, -1e4, 0.0], [f32::NAN, 1.0, 2.0], [0.0, 0.0, 0.0]];
        let x = Tensor::<2>::from_data(rows, (&device, dtype));
        let ones = Tensor::<1>::ones([3], (&device, dtype));
        let y = host(layer_norm(x.clone(), ones.clone(), None, 1e-5));
        assert!((y[0] - 1.5f64.sqrt()).abs() < 1e-6 && y[2] == 0.0);
        assert!(y[3..6].iter().all(|y| y.is_nan()) && y[6..] == [0.0; 3]);
        let y = host(rms_norm(x, ones, 1e-5));
        assert!((y[0] - 1.5f64.sqrt()).abs() < 1e-6);
        assert!(y[3..6].iter().all(|y| y.is_nan()) && y[6..] == [0.0; 3]);
    }
}

#[test]
#[should_panic(expected = "layer_norm: expected gamma of width 3 for x [2, 3], found 2")]
fn widths_are_checked() {
    let device = Device::flex();
    let _ = layer_norm(
        Tensor::<2>::zeros([2, 3], &device),
        Tensor::ones([2], &device),
        None,
        0.0,
    );
}

#[test]
fn errors_in_f32_are_not_above_burns() {
    let case = Case::random(&[500 * 384, 384, 384], 3.0, 8);
    check_large(&case, &|x| fused_layer(x, 384, 1e-5), &|x| {
        own_layer(x, 384, 1e-5)
    });
    let case = Case::random(&[500 * 384, 384], 3.0, 9);
    check_large(&case, &|x| fused_rms(x, 384, 1e-5), &|x| {
        own_rms(x, 384, 1e-5)
    });
}
