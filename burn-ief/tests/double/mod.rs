//! Flex in f64, for test binaries of their own: a device takes its precision once per process.

use std::sync::Once;

use burn::tensor::{Device, FloatDType};

/// Flex in f64, with autodiff.
pub fn device() -> Device {
    static PRECISION: Once = Once::new();
    let mut device = Device::flex();
    PRECISION.call_once(|| {
        device
            .configure(FloatDType::F64)
            .expect("before the first tensor");
    });
    device.autodiff()
}
