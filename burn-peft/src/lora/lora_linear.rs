//! A layer that holds its adapter as a field.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;

use super::factors::{LoraAdapters, LoraFactors};
use super::linear;
use crate::adapters::{plain as plain_value, replace};
use crate::error::Error;

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
#[non_exhaustive]
pub struct LoraLinear {
    /// The adapted layer, frozen.
    pub base: Linear,
    /// The adapter.
    pub adapter: LoraFactors<2>,
    /// The layer's weight, where PiSSA or OLoRA moved a part of it into the adapter.
    pub whole: Option<Param<Tensor<2>>>,
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
        if self.enabled {
            return linear::forward(&self.base, &[(&self.adapter, 1.0)], input);
        }
        linear::forward(&self.plain(), &[], input)
    }

    /// The layer without the adapter.
    fn plain(&self) -> Linear {
        let weight = self.whole.as_ref().unwrap_or(&self.base.weight);
        Linear {
            weight: weight.clone(),
            bias: self.base.bias.clone(),
        }
    }

    /// The base layer with the adapter merged into its weight; it computes what this layer does,
    /// up to rounding and without dropout.
    ///
    /// A switched-off adapter is left out. The result keeps the base's parameter ids and training
    /// state (frozen).
    ///
    /// # Errors
    ///
    /// [`Error::Merge`] if the weight would hold NaN or infinity.
    pub fn merge(self) -> Result<Linear, Error> {
        let plain = self.plain();
        if !self.enabled {
            return Ok(plain);
        }
        let adapters = LoraAdapters::new("merged", self.adapter);
        let rest = plain_value(&self.base.weight);
        let (_, merged, _) = adapters
            .merge(rest, None)
            .map_err(|problem| Error::merge("weight", &["merged".into()], problem))?;
        Ok(Linear {
            weight: replace(plain.weight, |_| merged),
            bias: plain.bias,
        })
    }
}
