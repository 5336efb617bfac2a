//! Random networks: what the recorded rows give against what one backward pass per sample gives.

mod net;
mod oracle;
mod permute;
mod products;
mod updates;

use proptest::test_runner::{Config, RngSeed};

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_240_610),
        failure_persistence: None,
        ..Config::default()
    }
}
