//! Activations.

use burn::tensor::{Tensor, activation};

#[cfg(feature = "flex")]
use crate::kernels::{activation as kernels, extension};

/// Gaussian error linear unit `x Φ(x)`, with the error function.
///
/// # Shapes
///
/// - input and output: any
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<1>::from_floats([-1.0, 1.5], &Device::flex());
/// let y = burn_flex_fused::gelu(x).into_data().try_to_vec::<f32>().unwrap();
/// assert!((y[0] + 0.158_655_25).abs() < 1e-6 && (y[1] - 1.399_789_2).abs() < 1e-6);
/// ```
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if extension::takes(&[extension::facts(&x)]) {
        return extension::apply(kernels::Activation::Gelu.kernel(), vec![x.into_dispatch()]);
    }
    activation::gelu(x)
}

/// GELU with a hyperbolic tangent, `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
///
/// # Shapes
///
/// - input and output: any
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<1>::from_floats([-1.0, 1.5], &Device::flex());
/// let y = burn_flex_fused::gelu_approximate(x);
/// let y = y.into_data().try_to_vec::<f32>().unwrap();
/// assert!((y[0] + 0.158_808).abs() < 1e-6 && (y[1] - 1.399_571_6).abs() < 1e-6);
/// ```
pub fn gelu_approximate<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if extension::takes(&[extension::facts(&x)]) {
        let kernel = kernels::Activation::GeluApproximate.kernel();
        return extension::apply(kernel, vec![x.into_dispatch()]);
    }
    // Burn's own takes the cube as a power, which is NaN for negative numbers on some devices.
    let cube = x.clone() * x.clone() * x.clone();
    let inner = (x.clone() + cube * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
    x * 0.5 * (inner.tanh() + 1.0)
}

/// Sigmoid linear unit `x / (1 + exp(-x))`, also called swish.
///
/// # Shapes
///
/// - input and output: any
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let x = Tensor::<1>::from_floats([0.0, 2.0], &Device::flex());
/// let y = burn_flex_fused::silu(x).into_data().try_to_vec::<f32>().unwrap();
/// assert!(y[0] == 0.0 && (y[1] - 1.761_594_2).abs() < 1e-6);
/// ```
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if extension::takes(&[extension::facts(&x)]) {
        return extension::apply(kernels::Activation::Silu.kernel(), vec![x.into_dispatch()]);
    }
    activation::silu(x)
}

/// `silu(gate) ∘ up`: the gated linear unit of Llama (Shazeer 2020, arXiv 2002.05202).
///
/// # Shapes
///
/// - gate, up and output: any, all alike
///
/// # Panics
///
/// Panics if the shapes differ and cannot be broadcast.
///
/// ```
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::flex();
/// let gate = Tensor::<1>::from_floats([0.0, 2.0], &device);
/// let up = Tensor::<1>::from_floats([5.0, -1.0], &device);
/// let y = burn_flex_fused::swiglu(gate, up);
/// let y = y.into_data().try_to_vec::<f32>().unwrap();
/// assert!(y[0] == 0.0 && (y[1] + 1.761_594_2).abs() < 1e-6);
/// ```
pub fn swiglu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if gate.dims() == up.dims()
        && extension::takes(&[extension::facts(&gate), extension::facts(&up)])
    {
        let inputs = vec![gate.into_dispatch(), up.into_dispatch()];
        return extension::apply(kernels::SwiGlu.kernel(), inputs);
    }
    activation::silu(gate) * up
}
