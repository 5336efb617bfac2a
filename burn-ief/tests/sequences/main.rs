//! Recurrent layers, cross-attention and decoders with random shapes and options: recorded rows
//! against one backward pass per sample.
//!
//! The modules are shared with `sequences_f64`, which sets other tolerances.

mod attention;
mod check;
mod edges;
mod half;
mod recurrent;

use std::cell::Cell;

use burn::tensor::Device;
use proptest::test_runner::{Config, RngSeed};

/// Relative tolerance of rows, products and outputs.
const TOLERANCE: f64 = 1e-4;

/// The devices that this build has.
fn devices() -> Vec<Device> {
    vec![
        Device::flex().autodiff(),
        Device::flex().autodiff().gradient_checkpointing(),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)] // deprecated upstream, still supported here
        Device::ndarray().autodiff(),
        #[cfg(feature = "wgpu")]
        Device::wgpu(Default::default()).autodiff(),
    ]
}

/// The devices of one of many random cases. Every tenth case runs on WGPU too, which needs a minute for ten
/// of them.
fn devices_of_a_case() -> Vec<Device> {
    thread_local! {
        static CASES: Cell<usize> = const { Cell::new(0) };
    }
    let case = CASES.replace(CASES.get() + 1);
    let mut devices = devices();
    if cfg!(feature = "wgpu") && !case.is_multiple_of(10) {
        devices.pop();
    }
    devices
}

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_261_129),
        failure_persistence: None,
        ..Config::default()
    }
}
