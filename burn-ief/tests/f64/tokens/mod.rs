//! The loss over tokens in slices against the same loss from all logits, in f64.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::double;
use crate::exact;
mod model;
mod plain;
mod recorded;
mod refused;
mod updates;

use proptest::test_runner::{Config, RngSeed};

/// A fixed seed: a run does not depend on luck.
fn config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(20_261_130),
        failure_persistence: None,
        ..Config::default()
    }
}

/// `‖a − b‖ ≤ tolerance ‖b‖`, absolute below a norm of 1.
#[track_caller]
fn close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut b.iter().copied()).max(1.0);
    let distance = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    assert!(
        distance <= tolerance * size,
        "{distance:e} against a norm of {size:e}"
    );
}
