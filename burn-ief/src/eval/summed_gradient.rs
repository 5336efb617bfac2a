//! The gradient of the summed loss, from that of a mean.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor};

/// The gradient of the summed loss, from the gradients of a scalar loss that is `factor` times the
/// sum.
///
/// For a loss that is averaged over the batch, `factor` is `LossScale::Mean.factor(samples)`.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::LossScale;
/// use burn_ief::eval::summed_gradient;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 1).init(&device);
/// let z = model.forward(Tensor::<2>::ones([4, 3], &device));
/// let grads = z.mean().backward();
/// let gradient = summed_gradient(grads, &model, LossScale::Mean.factor(4));
/// let weight = gradient.get::<2>(model.weight.id).unwrap();
/// assert!((weight.max().into_scalar::<f32>() - 4.0).abs() < 1e-6);
/// ```
pub fn summed_gradient<M: Module>(grads: Gradients, module: &M, factor: f64) -> GradientsParams {
    struct Divide {
        grads: GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Divide {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.remove::<D>(param.id) {
                self.grads.register(param.id, grad / self.factor);
            }
        }
    }
    let grads = GradientsParams::from_grads(grads, module);
    let mut divide = Divide { grads, factor };
    module.visit(&mut divide);
    divide.grads
}
