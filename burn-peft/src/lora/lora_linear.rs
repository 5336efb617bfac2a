//! A layer that holds its adapter as a field.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;

use super::factors::{LoraAdapters, LoraFactors};
use super::linear;
use crate::adapters::replace;

/// A frozen [`Linear`] and a trainable low-rank adapter as one module, for models whose struct
/// names the adapted layers. [`LoraConfig::linear`](crate::LoraConfig::linear) puts an adapter on a
/// layer without changing the struct.
///
/// Made by [`LoraConfig::init`](crate::LoraConfig::init).
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::LoraConfig;
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(16, 16).init(&device);
/// let x = Tensor::<2>::ones([2, 16], &device);
/// let before = layer.forward(x.clone());
/// let adapted = LoraConfig::new().init(layer);
/// // B starts at zero: nothing changes until it is trained.
/// assert!((adapted.forward(x) - before).abs().max().into_scalar::<f32>() < 1e-6);
/// assert!(!adapted.base.weight.is_require_grad() && adapted.adapter.a.is_require_grad());
/// ```
#[derive(Module, Debug)]
pub struct LoraLinear {
    /// The adapted layer, frozen.
    pub base: Linear,
    /// The adapter.
    pub adapter: LoraFactors<2>,
    /// Whether the adapter takes part; without it the layer is its base.
    pub enabled: bool,
}

impl LoraLinear {
    /// Switch the adapter on or off.
    pub fn with_enabled(self, enabled: bool) -> Self {
        Self { enabled, ..self }
    }

    /// Apply the layer, see [`ForwardAdapted`](crate::ForwardAdapted).
    ///
    /// # Shapes
    ///
    /// - input: `[M, …, d_input]`
    /// - output: `[M, …, d_output]`
    ///
    /// # Panics
    ///
    /// Panics if the last axis of `input` is not `d_input`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        let parts = [(&self.adapter, 1.0)];
        let count = if self.enabled { 1 } else { 0 };
        linear::forward(&self.base, &parts[..count], input)
    }

    /// The base layer with the adapter merged into its weight; it computes what this layer does,
    /// up to rounding and without dropout.
    ///
    /// A switched-off adapter is left out. The result keeps the base's parameter ids and training
    /// state (frozen).
    pub fn merge(self) -> Linear {
        if !self.enabled {
            return self.base;
        }
        let Linear { weight, bias } = self.base;
        let adapters = LoraAdapters::new("merged", self.adapter);
        let weight = replace(weight, |weight| adapters.merge(weight, None).1);
        Linear { weight, bias }
    }
}
