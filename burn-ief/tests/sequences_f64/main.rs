//! The layers of `sequences` again, in f64 from end to end.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

#[path = "../sequences/attention.rs"]
mod attention;
#[path = "../sequences/check.rs"]
mod check;
#[path = "../double/mod.rs"]
mod double;
#[path = "../sequences/edges.rs"]
mod edges;
#[path = "../sequences/recurrent.rs"]
mod recurrent;
mod updates;

use burn::tensor::Device;
use proptest::test_runner::{Config, RngSeed};

/// Relative tolerance of rows, products and outputs.
const TOLERANCE: f64 = 1e-12;

fn devices() -> Vec<Device> {
    let device = double::device();
    vec![device.clone(), device.gradient_checkpointing()]
}

fn devices_of_a_case() -> Vec<Device> {
    devices()
}

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_261_130),
        failure_persistence: None,
        ..Config::default()
    }
}
