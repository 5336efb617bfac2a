//! Every adapter of every model in f32.

mod models_reference;

use ::replay::{DeviceKind, Place, Precision};
use models_reference::{CASES, check};

fn compare(device: DeviceKind) {
    let place = Place::open(device, Precision::F32).unwrap();
    for case in CASES {
        check(case, "f64", 1e-4, &place);
    }
}

#[test]
fn flex() {
    compare(DeviceKind::Flex);
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray() {
    compare(DeviceKind::Ndarray);
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu() {
    compare(DeviceKind::Wgpu);
}
