//! Burn's gradients as a vector over parameters: map, norm, gather.

use std::collections::HashSet;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

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

/// Scale the entries of `ids` so that their joint Euclidean norm is `norm`.
///
/// A zero update stays zero.
pub(crate) fn normalize<M: Module>(
    module: &M,
    grads: &mut GradientsParams,
    ids: &HashSet<ParamId>,
    norm: f64,
) {
    let mut squares: Option<Tensor<1>> = None;
    map(module, grads, |id, grad| {
        if ids.contains(&id) {
            let own = grad.cast(DType::F32).square().sum();
            squares = Some(match squares.take() {
                Some(sum) => own.to_device(&sum.device()) + sum,
                None => own,
            });
        }
        None
    });
    let Some(squares) = squares else { return };
    let length = f64::from(squares.sqrt().into_scalar::<f32>());
    if length > 0.0 && length.is_finite() {
        map(module, grads, |id, grad| {
            ids.contains(&id).then(|| grad * (norm / length))
        });
    }
}
