//! The properties of random networks again, in f64 from end to end.

use crate::double;
use crate::exact;
use crate::host;
#[path = "../properties/momentum.rs"]
mod momentum;
#[path = "../properties/net.rs"]
pub mod net;
#[path = "../properties/oracle.rs"]
pub mod oracle;
#[path = "../properties/permute.rs"]
mod permute;
#[path = "../properties/products.rs"]
mod products;
#[path = "../properties/updates.rs"]
mod updates;

use double::device;
use proptest::test_runner::{Config, RngSeed};

/// Relative tolerance of rows and products.
const ROWS: f64 = 1e-11;
/// Relative tolerance of updates, whose systems have conditions of up to 1e4.
const UPDATES: f64 = 1e-8;

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_240_611),
        failure_persistence: None,
        ..Config::default()
    }
}
