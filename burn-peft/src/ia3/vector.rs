//! One vector of scales on one weight.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::config::Ia3Config;
use crate::adapters::{Adapters, LayerAdapter, at};

/// Which side of a layer is scaled.
///
/// ```
/// use burn_peft::ia3::Ia3Side;
///
/// assert_ne!(Ia3Side::Input, Ia3Side::Output);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ia3Side {
    /// Its input (`feedforward_modules`).
    Input,
    /// Its output, bias included.
    Output,
}

/// The vector of IA³ on one weight.
///
/// Several active ones multiply. One with a factor f scales by `1 + f (l − 1)`: by itself for 1,
/// and not at all for 0.
///
/// | weight | input side | output side |
/// | --- | --- | --- |
/// | linear `[d_in, d_out]` | `l [d_in]` | `l [d_out]` |
/// | conv2d `[out, in, k, k]` | `l [in]` | `l [out]` |
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{ForwardAdapted, Ia3Adapters, Ia3Vector};
/// use burn_peft::ia3::Ia3Side;
///
/// let device = Device::flex().autodiff();
/// let mut layer = LinearConfig::new(2, 3).init(&device);
/// let x = Tensor::<2>::ones([1, 2], &device);
/// let before = layer.forward(x.clone());
/// let vector = Ia3Vector::new(Tensor::ones([3], &device) * 2.0, Ia3Side::Output, true);
/// layer.weight = Ia3Adapters::new("default", vector).attach(layer.weight);
/// let difference = layer.forward_adapted(x) - before * 2.0;
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct Ia3Vector {
    /// The scales l.
    pub l: Param<Tensor<1>>,
    /// What they scale.
    #[module(skip)]
    pub side: Ia3Side,
    /// Whether the layer has a bias, which is scaled with the output.
    pub bias: bool,
}

/// The IA³ adapters on a weight of rank `D`.
pub type Ia3Adapters<const D: usize> = Adapters<Ia3Vector, D>;

impl Ia3Vector {
    /// A trainable vector with these scales, for a layer with or without a bias.
    pub fn new(scales: Tensor<1>, side: Ia3Side, bias: bool) -> Self {
        let l = Param::from_tensor(scales.detach()).set_require_grad(true);
        Self { l, side, bias }
    }

    /// `1 + f (l − 1)` for given scales l.
    pub(super) fn with_factor<const D: usize>(scales: Tensor<D>, factor: f64) -> Tensor<D> {
        if factor == 1.0 {
            return scales;
        }
        (scales - 1.0) * factor + 1.0
    }

    /// The axis of a weight of rank `D` along which it is scaled.
    fn axis<const D: usize>(&self) -> usize {
        match (D, self.side) {
            (2, Ia3Side::Input) | (4, Ia3Side::Output) => 0,
            _ => 1,
        }
    }
}

impl<const D: usize> LayerAdapter<D> for Ia3Vector {
    const PEFT_TYPE: &'static str = Ia3Config::PEFT_TYPE;

    fn compose(&self, weight: Tensor<D>, factor: f64) -> Tensor<D> {
        let scales = Self::with_factor(self.l.val(), factor);
        let mut shape = [1; D];
        shape[self.axis::<D>()] = scales.dims()[0];
        let dtype = scales.dtype();
        at(weight, dtype) * scales.reshape(shape)
    }

    fn compose_bias(&self, bias: Tensor<1>, factor: f64) -> Tensor<1> {
        match self.side {
            Ia3Side::Input => bias,
            Ia3Side::Output => {
                let scales = Self::with_factor(self.l.val(), factor);
                at(bias, scales.dtype()) * scales
            }
        }
    }

    fn compose_all(parts: &[(&Self, f64)], weight: Tensor<D>) -> Tensor<D> {
        let parts = parts.iter();
        parts.fold(weight, |weight, (vector, factor)| {
            vector.compose(weight, *factor)
        })
    }

    fn changes_bias(&self) -> bool {
        self.bias && self.side == Ia3Side::Output
    }
}
