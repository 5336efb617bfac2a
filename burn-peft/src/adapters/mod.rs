//! What a weight carries: named adapters, of whichever method.
//!
//! A method describes what one of its adapters does to a weight ([`LayerAdapter`]); this module
//! keeps several of them on a weight ([`Adapters`]) through Burn's reparameterization hook.

pub(crate) mod edit;
mod fresh;
mod layer;
mod parameter;
mod stack;

use burn::module::Module;
use burn::tensor::Tensor;

pub(crate) use edit::{AnyAdapters, Folded};
pub(crate) use fresh::{Fresh, NewAdapter};
pub(crate) use layer::{Layer, Weight};
pub(crate) use parameter::{at, bare, like, place, plain, replace, tensor, trainable};
pub use stack::Adapters;
pub(crate) use stack::{ADAPTER, MERGED_ADAPTER, SLOT};

/// One adapter of a weight of rank `D`: what it makes of the weight, and of the layer's bias.
///
/// [`LoraFactors`](crate::LoraFactors) and [`Ia3Vector`](crate::Ia3Vector) are adapters. Their
/// parameters are found under `weight.peft.NAME`.
pub trait LayerAdapter<const D: usize>: Module + Sync + 'static {
    /// The method, as `peft_type` names it.
    const PEFT_TYPE: &'static str;

    /// The weight that this adapter alone makes of `weight`, with `factor` times its update.
    fn compose(&self, weight: Tensor<D>, factor: f64) -> Tensor<D>;

    /// The bias that this adapter alone makes of `bias`.
    fn compose_bias(&self, bias: Tensor<1>, _factor: f64) -> Tensor<1> {
        bias
    }

    /// The weight that several adapters with their factors make of `weight`: the sum of what each
    /// changes, unless a method says otherwise.
    fn compose_all(parts: &[(&Self, f64)], weight: Tensor<D>) -> Tensor<D> {
        match parts {
            [] => weight,
            [(adapter, factor)] => adapter.compose(weight, *factor),
            parts => parts.iter().fold(weight.clone(), |sum, (adapter, factor)| {
                let own = adapter.compose(weight.clone(), *factor);
                let change = own.clone() - at(weight.clone(), own.dtype());
                at(sum, change.dtype()) + change
            }),
        }
    }

    /// Whether the adapter changes the layer's bias, which the weight alone cannot show. Burn's own
    /// `forward` of such a layer panics instead of computing something else.
    fn changes_bias(&self) -> bool {
        false
    }
}

/// A layer of Burn with the adapters on its weight; `I` is the type of its input.
///
/// Call `forward_adapted` in a model's `forward` where you would call `forward`. Without adapters
/// it is [`forward_recorded`](burn_ief::nn). With adapters it computes along the activations and
/// records the use of every trainable parameter per sample while a [`Tape`](burn_ief::Tape) is
/// alive.
///
/// | layer | input | output |
/// | --- | --- | --- |
/// | [`Linear`](burn::nn::Linear) | `[M, …, d_input]` | `[M, …, d_output]` |
/// | [`Embedding`](burn::nn::Embedding) | indices `[M, T]` | `[M, T, d_model]` |
/// | [`Conv2d`](burn::nn::conv::Conv2d) | `[M, channels, height, width]` | `[M, channels_out, …]` |
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{ForwardAdapted, LoraConfig};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(16, 32).init(&device);
/// let layer = LoraConfig::new().linear("default", layer)?;
/// let x = Tensor::<3>::ones([2, 5, 16], &device);
/// assert_eq!(layer.forward_adapted(x).dims(), [2, 5, 32]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
pub trait ForwardAdapted<I> {
    /// What the layer computes.
    type Output;

    /// Apply the layer and its active adapters.
    ///
    /// # Panics
    ///
    /// Panics if the shape of `input` does not fit the layer.
    fn forward_adapted(&self, input: I) -> Self::Output;
}
