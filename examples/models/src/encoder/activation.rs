//! Activation functions by their names in `config.json`.

use burn::nn::activation::{Activation, ActivationConfig};
use burn::tensor::Device;

use crate::error::Error;
use crate::fields::refuse;

/// The activation that `transformers` calls `name`.
///
/// # Errors
///
/// [`Error::Config`] for any other name than `gelu`, `gelu_new`, `gelu_pytorch_tanh` and `relu`.
pub(crate) fn activation(name: &str, device: &Device) -> Result<Activation, Error> {
    Ok(config(name)?.init(device))
}

/// Whether [`activation`] knows the name.
pub(crate) fn check_activation(name: &str) -> Result<(), Error> {
    config(name).map(|_| ())
}

fn config(name: &str) -> Result<ActivationConfig, Error> {
    match name {
        "gelu" => Ok(ActivationConfig::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(ActivationConfig::GeluApproximate),
        "relu" => Ok(ActivationConfig::Relu),
        other => {
            let expected = "gelu, gelu_new, gelu_pytorch_tanh or relu";
            refuse("hidden_act", format!("`{other}`"), expected)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tensor;

    #[test]
    fn names_are_those_of_transformers() {
        let device = Device::flex();
        let at = |name: &str| {
            let x = Tensor::<1>::from_floats([-1.0, 1.5], &device);
            let y = activation(name, &device).unwrap().forward(x);
            y.into_data().try_to_vec::<f32>().unwrap()
        };
        let close = |found: Vec<f32>, expected: [f32; 2]| {
            let near = |(a, b): (&f32, f32)| (a - b).abs() < 2e-6;
            assert!(found.iter().zip(expected).all(near), "{found:?}");
        };
        // x Φ(x), its tanh approximation, max(x, 0).
        close(at("gelu"), [-0.158_655_25, 1.399_789_2]);
        close(at("gelu_new"), [-0.158_808, 1.399_571_6]);
        close(at("gelu_pytorch_tanh"), [-0.158_808, 1.399_571_6]);
        close(at("relu"), [0.0, 1.5]);
        let error = activation("mish", &device).unwrap_err();
        assert!(error.to_string().contains("`mish`"), "{error}");
    }
}
