//! The properties of random networks again, in f64 from end to end.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

#[path = "../properties/momentum.rs"]
mod momentum;
#[path = "../properties/net.rs"]
mod net;
#[path = "../properties/oracle.rs"]
mod oracle;
#[path = "../properties/permute.rs"]
mod permute;
#[path = "../properties/products.rs"]
mod products;
#[path = "../properties/updates.rs"]
mod updates;

use std::sync::Once;

use burn::tensor::{Device, FloatDType};
use proptest::test_runner::{Config, RngSeed};

/// Relative tolerance of rows and products.
const ROWS: f64 = 1e-11;
/// Relative tolerance of updates, whose systems have conditions of up to 1e4.
const UPDATES: f64 = 1e-8;

fn device() -> Device {
    static PRECISION: Once = Once::new();
    let mut device = Device::flex();
    PRECISION.call_once(|| {
        device
            .configure(FloatDType::F64)
            .expect("before the first tensor");
    });
    device.autodiff()
}

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_240_611),
        failure_persistence: None,
        ..Config::default()
    }
}
