//! Burn's own layers with a fused forward pass.

use burn::module::{Content, DisplaySettings, ModuleDisplay, Param};
use burn::nn::activation::Activation;
use burn::nn::{Gelu, LayerNorm, Linear, RmsNorm, SwiGlu};
use burn::tensor::{DType, Tensor};

use crate::{gelu, gelu_approximate, layer_norm, linear, rms_norm, swiglu};

/// A layer of Burn whose forward pass has a fused form.
///
/// The output is that of the layer's own `forward`, to rounding. Parameters may be trained or
/// frozen.
///
/// ```
/// use burn::nn::LayerNormConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_flex_fused::ForwardFused;
///
/// let device = Device::flex().autodiff();
/// let norm = LayerNormConfig::new(8).init(&device);
/// let x = Tensor::<3>::random([4, 7, 8], Distribution::Default, &device);
/// let difference = norm.forward_fused(x.clone()) - norm.forward(x);
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-5);
/// ```
pub trait ForwardFused<const D: usize> {
    /// Apply the layer.
    ///
    /// # Panics
    ///
    /// Panics like the layer's own `forward` if the shapes do not fit.
    fn forward_fused(&self, x: Tensor<D>) -> Tensor<D>;
}

/// Whether operations on tensors like this one run as kernels: on Flex, in f32 or f64, and not empty.
///
/// ```
/// use burn::tensor::{DType, Device, Tensor};
/// use burn_flex_fused::is_fused;
///
/// let x = Tensor::<2>::ones([2, 3], &Device::flex());
/// assert!(is_fused(&x));
/// assert!(!is_fused(&x.cast(DType::F16)));
/// ```
pub fn is_fused<const D: usize>(x: &Tensor<D>) -> bool {
    #[cfg(feature = "flex")]
    let takes = crate::kernels::extension::takes(&[crate::kernels::extension::facts(x)]);
    #[cfg(not(feature = "flex"))]
    let takes = {
        let _ = x;
        false
    };
    takes
}

/// [`linear`](crate::linear) with the layer's parameters, an adapter of Burn's composed as Burn does.
impl<const D: usize> ForwardFused<D> for Linear {
    fn forward_fused(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}

/// [`layer_norm`](crate::layer_norm) with the layer's parameters.
impl<const D: usize> ForwardFused<D> for LayerNorm {
    fn forward_fused(&self, x: Tensor<D>) -> Tensor<D> {
        let Some(epsilon) = epsilon(self) else {
            return self.forward(x);
        };
        let beta = self.beta.as_ref().map(Param::val);
        layer_norm(x, self.gamma.val(), beta, epsilon)
    }
}

/// The layer's ε, which Burn shows but does not give out.
fn epsilon(norm: &LayerNorm) -> Option<f64> {
    let shown = norm.custom_content(Content::new(DisplaySettings::new()))?;
    let mut attributes = shown.attributes.into_iter();
    let epsilon = attributes.find(|attribute| attribute.name == "epsilon")?;
    epsilon.value.parse().ok()
}

/// [`rms_norm`](crate::rms_norm) in f32, and Burn's own pass for other dtypes, whose mean square is
/// always f32.
impl<const D: usize> ForwardFused<D> for RmsNorm {
    fn forward_fused(&self, x: Tensor<D>) -> Tensor<D> {
        match x.dtype() {
            DType::F32 => rms_norm(x, self.gamma.val(), self.epsilon),
            _ => self.forward(x),
        }
    }
}

/// [`gelu`](crate::gelu) or [`gelu_approximate`](crate::gelu_approximate).
impl<const D: usize> ForwardFused<D> for Gelu {
    fn forward_fused(&self, x: Tensor<D>) -> Tensor<D> {
        if self.approximate {
            gelu_approximate(x)
        } else {
            gelu(x)
        }
    }
}

/// Two linear layers, then [`swiglu`](crate::swiglu).
impl<const D: usize> ForwardFused<D> for SwiGlu {
    fn forward_fused(&self, x: Tensor<D>) -> Tensor<D> {
        let gate = self.linear_inner.forward_fused(x.clone());
        swiglu(gate, self.linear_outer.forward_fused(x))
    }
}

/// GELU and SwiGLU fused, all other activations as they are.
impl<const D: usize> ForwardFused<D> for Activation {
    fn forward_fused(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu(layer) => layer.forward_fused(x),
            Self::SwiGlu(layer) => layer.forward_fused(x),
            _ => self.forward(x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::LayerNormConfig;
    use burn::tensor::Device;

    #[test]
    fn every_epsilon_is_read_to_the_last_digit() {
        for expected in [1e-5, 1e-12, 0.0, 1e-6, 0.1 + 0.2, 3e-300] {
            let config = LayerNormConfig::new(3).with_epsilon(expected);
            assert_eq!(epsilon(&config.init(&Device::flex())), Some(expected));
        }
    }
}
