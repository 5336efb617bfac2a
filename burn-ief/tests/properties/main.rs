//! Random networks: what the recorded rows give against what one backward pass per sample gives.
//!
//! The modules are shared with `f64::properties`, which sets other tolerances.

#[path = "../exact/mod.rs"]
mod exact;
#[path = "../host/mod.rs"]
mod host;
mod momentum;
mod net;
mod oracle;
mod permute;
mod products;
mod updates;

use burn::tensor::Device;
use proptest::test_runner::{Config, RngSeed};

/// Relative tolerance of rows and products.
const ROWS: f64 = 1e-4;
/// Relative tolerance of updates, whose systems have conditions of up to 1e4.
const UPDATES: f64 = 1e-3;

fn device() -> Device {
    Device::flex().autodiff()
}

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_240_610),
        failure_persistence: None,
        ..Config::default()
    }
}
