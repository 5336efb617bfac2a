//! Layers of random shapes and settings in f32, on every device of this build.
//!
//! `cargo test --workspace --features ndarray,wgpu --test layer_shapes_f32` has three.

#[cfg(feature = "flex")]
mod half;
#[path = "../layer_cases/mod.rs"]
mod layer_cases;

use std::cell::RefCell;

#[cfg(feature = "flex")]
use burn::tensor::DType;
use burn::tensor::Device;
#[cfg(feature = "flex")]
use half::check_half;
use layer_cases::layer::Settings;
use layer_cases::{
    Case, Tolerance, cases, check_drawn, check_empty, check_forward, check_groups, check_rows,
    convolutions, deformables, elementwise, transposed,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

const SINGLE: Tolerance = Tolerance {
    forward: 1e-4,
    backward: 1e-4,
};

thread_local! {
    static DEVICE: RefCell<Option<Device>> = const { RefCell::new(None) };
}

/// The device of the running test, with autodiff.
fn device() -> Device {
    let device = DEVICE.with_borrow(Clone::clone);
    device.expect("a test sets its device").autodiff()
}

/// Every check for `count` cases of every kind, and `count / 4` with drawn labels.
fn check_all(device: Device, count: u32) {
    DEVICE.set(Some(device));
    check("convolutions", convolutions(), count);
    check("transposed", transposed(), count);
    check("deformables", deformables(), count);
    check("elementwise", elementwise(), count);
}

fn check(kind: &str, layers: impl Strategy<Value = Settings>, count: u32) {
    repeat(kind, &layers, count, |case| {
        check_forward(case, SINGLE)?;
        check_rows(case, SINGLE)?;
        check_groups(case, SINGLE)?;
        check_empty(case)
    });
    repeat(kind, &layers, count.div_ceil(4), |case| {
        check_drawn(case, SINGLE)
    });
}

/// One check for `count` cases.
fn repeat(
    kind: &str,
    layers: impl Strategy<Value = Settings>,
    count: u32,
    check: impl Fn(&Case) -> Result<(), TestCaseError>,
) {
    let mut runner = TestRunner::new(Config {
        cases: count,
        rng_seed: RngSeed::Fixed(20_240_612),
        failure_persistence: None,
        ..Config::default()
    });
    if let Err(error) = runner.run(&cases(layers), |case| check(&case)) {
        panic!("{kind}: {error}");
    }
}

#[cfg(feature = "flex")]
#[test]
fn flex() {
    check_all(Device::flex(), 100);
}

/// Machine epsilons of 2⁻¹⁰ and 2⁻⁷, a few roundings deep.
#[cfg(feature = "flex")]
#[test]
fn half_precision() {
    DEVICE.set(Some(Device::flex()));
    let run = |layers: BoxedStrategy<Settings>| {
        repeat("half", layers, 60, |case| {
            check_half(case, DType::F16, 0.02)?;
            check_half(case, DType::BF16, 0.15)
        });
    };
    run(convolutions().boxed());
    run(transposed().boxed());
    run(deformables().boxed());
    run(elementwise().boxed());
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // deprecated upstream, still supported here
#[test]
fn ndarray() {
    check_all(Device::ndarray(), 100);
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu() {
    check_all(Device::wgpu(Default::default()), 10);
}
