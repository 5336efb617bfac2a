//! The direction that an optimizer took, from the model before and after its step.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Shape, Tensor};

use crate::error::Error;

/// θ_before − θ_after of every trainable parameter: the update of any optimizer, whatever state it
/// keeps, as a direction to be judged.
///
/// In f32 the difference has the rounding of the parameters, 6e-8 of them: let the optimizer take a
/// step of a size that moves them by much more (γ does not depend on it), on a clone of the model.
/// Entries of parameters that did not move are zero.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{AdamWConfig, GradientsParams};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_ief::eval::{Fisher, Loss, displacement, gradient};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(4, 2).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Normal(0.0, 1.0), &device);
/// let loss = || model.forward(x.clone()).square().sum() * 0.5;
///
/// let grads = GradientsParams::from_grads(loss().backward(), &model);
/// let after = AdamWConfig::new().init().step(0.1, model.clone(), grads);
/// let adamw = displacement(&model, &after)?;
///
/// let sgd = gradient(loss().backward(), &model, 1.0);
/// let at = Fisher::new(Loss::LeastSquares).at(&model, |m| m.forward_recorded(x.clone()))?;
/// let ratio = at.quality(&adamw, &sgd)?.ratio(&at.quality(&sgd, &sgd)?);
/// assert!(ratio.is_finite());
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::ForeignDirection`] if trainable parameters of `before` are missing in `after`,
/// [`Error::RowShape`] if one has another shape there.
pub fn displacement<M: Module>(before: &M, after: &M) -> Result<GradientsParams, Error> {
    let mut collect = Collect::default();
    after.visit(&mut collect);
    let mut subtract = Subtract {
        after: collect.0,
        path: Vec::new(),
        trainable: 0,
        difference: GradientsParams::new(),
        wrong: None,
    };
    before.visit(&mut subtract);
    if let Some(error) = subtract.wrong {
        return Err(error);
    }
    match subtract.difference.len() == subtract.trainable {
        true => Ok(subtract.difference),
        false => Err(Error::ForeignDirection {
            what: "model after the step",
            entries: subtract.trainable,
            matched: subtract.difference.len(),
        }),
    }
}

/// Off the tape, in f32 at least.
fn value<const D: usize>(param: &Param<Tensor<D>>) -> Tensor<D> {
    let value = param.base().inner();
    match value.dtype() {
        DType::F64 => value,
        _ => value.cast(DType::F32),
    }
}

/// Flattened values and shapes of all parameters.
#[derive(Default)]
struct Collect(HashMap<ParamId, (Shape, Tensor<1>)>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = value(param);
        let shape = value.shape();
        let count = shape.num_elements();
        self.0.insert(param.id, (shape, value.reshape([count])));
    }
}

struct Subtract {
    after: HashMap<ParamId, (Shape, Tensor<1>)>,
    path: Vec<String>,
    trainable: usize,
    difference: GradientsParams,
    wrong: Option<Error>,
}

impl ModuleVisitor for Subtract {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // A parameter that two layers share is met twice.
        if !param.is_require_grad() || self.difference.get::<D>(param.id).is_some() {
            return;
        }
        self.trainable += 1;
        let value = value(param);
        let Some((shape, after)) = self.after.get(&param.id) else {
            return;
        };
        if *shape != value.shape() {
            self.wrong = Some(Error::RowShape {
                parameter: self.path.join("."),
                expected: value.shape().to_string(),
                found: shape.to_string(),
            });
            return;
        }
        let after = after.clone().to_device(&value.device());
        let after = after.cast(value.dtype()).reshape(value.shape());
        self.difference.register(param.id, value - after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::LinearConfig;
    use burn::optim::SgdConfig;
    use burn::tensor::Device;

    #[test]
    fn sgd_takes_its_gradient() {
        let device = Device::flex().autodiff();
        let model = LinearConfig::new(3, 2).init(&device);
        let x = Tensor::<2>::ones([4, 3], &device);
        let grads = || {
            let loss = model.forward(x.clone()).square().sum();
            GradientsParams::from_grads(loss.backward(), &model)
        };
        let after = SgdConfig::new().init().step(0.5, model.clone(), grads());
        let taken = displacement(&model, &after).unwrap();
        let expected = grads().get::<2>(model.weight.id).unwrap() * 0.5;
        let off = taken.get::<2>(model.weight.id).unwrap() - expected;
        assert!(off.abs().max().into_scalar::<f32>() < 1e-6);
        assert_eq!(taken.len(), 2);
    }

    #[test]
    fn another_model_is_refused() {
        let device = Device::flex().autodiff();
        let model = LinearConfig::new(3, 2).init(&device);
        let other = LinearConfig::new(3, 2).init(&device);
        assert!(matches!(
            displacement(&model, &other),
            Err(Error::ForeignDirection {
                entries: 2,
                matched: 0,
                ..
            })
        ));
        let mut reshaped = model.clone();
        let narrow = Tensor::<2>::zeros([3, 1], &device);
        reshaped.weight = Param::initialized(model.weight.id, narrow.require_grad());
        assert!(matches!(
            displacement(&model, &reshaped),
            Err(Error::RowShape { .. })
        ));
    }
}
