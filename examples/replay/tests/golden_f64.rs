//! Every reference case in f64. A process of its own: the precision of a device is set once.

mod reference;

use ::replay::{DeviceKind, Place, Precision};
use reference::{CASES, distance, replay};

/// Whole vectors agree to 1e-10.
const TOLERANCE: f64 = 1e-10;

fn compare(device: DeviceKind, case: &str) {
    let place = Place::open(device, Precision::F64).unwrap();
    let replayed = replay(case, &place);
    replayed.check_names();
    let mut wrong = Vec::new();
    for (name, (found, expected)) in replayed.vectors() {
        let error = distance(&found, &expected);
        // On the grids every θ is a vector of its own.
        let points = replayed.points();
        let parts = found.chunks(found.len() / points);
        let parts = parts.zip(expected.chunks(expected.len() / points));
        let worst = parts.map(|(a, b)| distance(a, b)).fold(0.0, f64::max);
        println!("{case} {name} {error:.2e} {worst:.2e}");
        if !(error <= TOLERANCE) {
            wrong.push((name, error, worst));
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
