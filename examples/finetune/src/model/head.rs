//! A new classification head.

use burn::module::Param;
use burn::nn::{Initializer, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

/// Deviation of its weights, as in `transformers`.
const DEVIATION: f64 = 0.02;

/// A linear layer with small normal weights and zero biases.
pub(super) fn new(width: usize, classes: usize, device: &Device) -> Linear {
    let initializer = Initializer::Normal {
        mean: 0.0,
        std: DEVIATION,
    };
    let config = LinearConfig::new(width, classes).with_initializer(initializer);
    let linear: Linear = config.with_bias(false).init(device);
    // Burn draws the values of a parameter when it is first used. Draw them here, so that they do not
    // depend on how many draws adapters make before.
    linear.weight.val();
    Linear {
        bias: Some(Param::from_tensor(Tensor::zeros([classes], device))),
        ..linear
    }
}
