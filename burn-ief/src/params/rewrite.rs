//! New values for parameters of a module.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use super::ParamInfo;

/// Replace the flattened values of the given parameters: `f` takes the index of the parameter in
/// `params` and its value.
///
/// Everything else about a parameter stays: its id, and how it takes part in autodiff.
pub(crate) fn rewrite<M: Module>(
    module: M,
    params: &[ParamInfo],
    f: impl Fn(usize, Tensor<1>) -> Tensor<1>,
) -> M {
    struct Rewrite<'a, F> {
        params: &'a [ParamInfo],
        f: F,
    }
    impl<F: Fn(usize, Tensor<1>) -> Tensor<1>> ModuleMapper for Rewrite<'_, F> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let known = self.params.iter().position(|known| known.id == param.id);
            let Some(k) = known else {
                return param;
            };
            let id = param.id;
            param.map(|value| {
                let shape = value.shape();
                let flat = |value: Tensor<D>| value.reshape([shape.num_elements()]);
                if !value.device().is_autodiff() {
                    return (self.f)(k, flat(value)).reshape(shape.clone());
                }
                let (trained, distributed) = (value.is_require_grad(), value.is_distributed());
                let checkpointing = value.gradient_checkpointing_strategy();
                let inner: Tensor<D> = (self.f)(k, flat(value.inner())).reshape(shape.clone());
                let mut value = Tensor::from_inner(inner);
                if let Some(strategy) = checkpointing {
                    value = value.with_gradient_checkpointing_strategy(strategy);
                }
                if trained {
                    value = value.require_grad();
                }
                if distributed {
                    value.set_distributed(id)
                } else {
                    value
                }
            })
        }
    }
    module.map(&mut Rewrite { params, f })
}
