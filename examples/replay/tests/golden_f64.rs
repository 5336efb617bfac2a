//! Every reference case in f64. A process of its own: the precision of a device is set once.

mod reference;

use ::replay::{DeviceKind, Place, Precision};
use reference::{CASES, distance, replay};

/// Whole vectors agree to 1e-10. In the K-FAC family rounding of the reference itself is divided by
/// λ: at 1e-12 it has five digits left. Errors of fitted samples, 1e-5 by cancellation and scaled
/// up again in ieKFAC, have nine.
fn tolerance(name: &str) -> f64 {
    match name.contains("kfac") {
        true if name.contains("lam_1e-12") => 2e-5,
        true => 2e-9,
        false => 1e-10,
    }
}

fn compare(device: DeviceKind, case: &str) {
    let place = Place::open(device, Precision::F64).unwrap();
    let replayed = replay(case, &place);
    replayed.check_names();
    let mut wrong = Vec::new();
    for (name, (found, expected)) in replayed.vectors() {
        // On the grids every θ has a vector of its own.
        let points = replayed.points();
        let parts = found.chunks(found.len() / points);
        let parts = parts.zip(expected.chunks(expected.len() / points));
        let errors = parts.map(|(a, b)| distance(a, b));
        let error = errors.max_by(f64::total_cmp).unwrap_or(0.0);
        println!("{case} {name} {error:.2e}");
        if error.is_nan() || error > tolerance(&name) {
            wrong.push((name, error));
        }
    }
    assert!(wrong.is_empty(), "{case} on {}: {wrong:?}", device.name());
}

#[test]
fn flex() {
    for case in CASES {
        compare(DeviceKind::Flex, case);
    }
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray() {
    for case in CASES {
        compare(DeviceKind::Ndarray, case);
    }
}
