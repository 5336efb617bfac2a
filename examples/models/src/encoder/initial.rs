//! Initial values of new layers, as `transformers` draws them.

use burn::module::Param;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::Device;

/// Normal with mean 0 and deviation `initializer_range`.
pub(crate) fn initial_normal(std: f64) -> Initializer {
    Initializer::Normal { mean: 0.0, std }
}

/// A linear layer with a normal weight and a bias of zero.
pub(crate) fn initial_linear(
    [d_input, d_output]: [usize; 2],
    bias: bool,
    std: f64,
    device: &Device,
) -> Linear {
    let layer = LinearConfig::new(d_input, d_output)
        .with_bias(false)
        .with_initializer(initial_normal(std))
        .init(device);
    Linear {
        bias: bias.then(|| -> Param<_> { Initializer::Zeros.init([d_output], device) }),
        ..layer
    }
}

/// A layer norm over `width` features.
pub(crate) fn initial_norm(width: usize, epsilon: f64, device: &Device) -> LayerNorm {
    LayerNormConfig::new(width)
        .with_epsilon(epsilon)
        .init(device)
}
