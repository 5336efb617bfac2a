//! What every method has to do, by its name: train, save, fit the ways of stepping to each other,
//! and leave other parameters alone.

#[path = "../all/mod.rs"]
mod all;
mod options;
mod records;
#[allow(dead_code)]
#[path = "../two_layers/mod.rs"]
mod two_layers;
mod ways;

use burn::tensor::Device;

fn device() -> Device {
    Device::flex().autodiff()
}
