//! Recurrent layers, cross-attention and decoders with random shapes and options: recorded rows
//! against one backward pass per sample.
//!
//! The modules are shared with `sequences_f64`, which sets other tolerances.

mod attention;
mod check;
mod edges;
mod half;
mod recurrent;

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
        Device::ndarray().autodiff(),
        #[cfg(feature = "wgpu")]
        Device::wgpu(Default::default()).autodiff(),
    ]
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
