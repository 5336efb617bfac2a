//! What a method's adapter does to a weight.

use burn::module::Module;
use burn::tensor::Tensor;

use super::parameter::at;
use super::part::AdapterPart;

/// One adapter of a weight of rank `D`: what it makes of the weight, and of the layer's bias.
///
/// [`LoraFactors`](crate::LoraFactors) and [`Ia3Vector`](crate::Ia3Vector) are adapters. Their
/// parameters are found under `weight.peft.NAME`.
pub trait LayerAdapter<const D: usize>: Module + Sync + 'static {
    /// The method, as `peft_type` names it.
    const PEFT_TYPE: &'static str;

    /// With its parameters trainable, or frozen. Constants that are parameters stay frozen.
    fn set_trains(self, trains: bool) -> Self {
        self.set_require_grad(trains)
    }

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

    /// The tensors that all adapters of a model share, with as many rows and columns as this one uses.
    /// They do not train.
    fn shared(&self) -> Vec<(AdapterPart, Tensor<2>)> {
        Vec::new()
    }

    /// Whether the adapter changes the layer's bias, which the weight alone cannot show. Burn's own
    /// `forward` of such a layer panics instead of computing something else.
    fn changes_bias(&self) -> bool {
        false
    }
}
