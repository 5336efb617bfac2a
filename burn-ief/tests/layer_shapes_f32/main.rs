//! Layers of random shapes and settings in f32, on every device of this build.
//!
//! `cargo test --workspace --features ndarray,wgpu --test layer_shapes_f32` has three.

#[path = "../layer_cases/mod.rs"]
mod layer_cases;

use std::cell::RefCell;

use burn::tensor::Device;
use layer_cases::{
    Case, Settings, Tolerance, cases, check_drawn, check_empty, check_forward, check_rows,
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
    let run = |count: u32, check: &dyn Fn(&Case) -> Result<(), TestCaseError>| {
        let mut runner = TestRunner::new(Config {
            cases: count,
            rng_seed: RngSeed::Fixed(20_240_612),
            failure_persistence: None,
            ..Config::default()
        });
        if let Err(error) = runner.run(&cases(&layers), |case| check(&case)) {
            panic!("{kind}: {error}");
        }
    };
    run(count, &|case| {
        check_forward(case, SINGLE)?;
        check_rows(case, SINGLE)?;
        check_empty(case)
    });
    run(count.div_ceil(4), &|case| check_drawn(case, SINGLE));
}

#[cfg(feature = "flex")]
#[test]
fn flex() {
    check_all(Device::flex(), 100);
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray() {
    check_all(Device::ndarray(), 100);
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu() {
    check_all(Device::wgpu(Default::default()), 10);
}
