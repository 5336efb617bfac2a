//! Burn's gradients, mapped parameter by parameter.

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// Apply `f` to the gradient of every parameter of `module`, flattened; `None` keeps it.
pub(crate) fn map<M: Module>(
    module: &M,
    grads: &mut GradientsParams,
    f: impl FnMut(ParamId, Tensor<1>) -> Option<Tensor<1>>,
) {
    struct Map<'a, F> {
        grads: &'a mut GradientsParams,
        f: F,
    }
    impl<F: FnMut(ParamId, Tensor<1>) -> Option<Tensor<1>>> ModuleVisitor for Map<'_, F> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(grad) = self.grads.remove::<D>(param.id) else {
                return;
            };
            let shape = grad.shape();
            let flat = grad.clone().reshape([shape.num_elements()]);
            let mapped = match (self.f)(param.id, flat) {
                Some(mapped) => mapped.reshape(shape),
                None => grad,
            };
            self.grads.register(param.id, mapped);
        }
    }
    module.visit(&mut Map { grads, f });
}
