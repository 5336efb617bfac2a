//! Parameters that carry copies and no adapters.

use burn::module::Module;
use burn::tensor::Tensor;

use super::layer_adapter::LayerAdapter;

/// The adapter of a parameter that no method adapts, such as a bias or a norm: there is none.
#[derive(Module, Debug)]
pub(crate) struct Unadapted {}

impl<const D: usize> LayerAdapter<D> for Unadapted {
    const PEFT_TYPE: &'static str = "";

    fn compose(&self, weight: Tensor<D>, _factor: f64) -> Tensor<D> {
        weight
    }
}
