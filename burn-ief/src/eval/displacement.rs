//! The direction of an optimizer's step, from the model before and after it.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::error::{Error, EvalError};
use crate::params::{Direction, ParamInfo, ParamVisitor, Place, visit, widen};

/// The update of any optimizer as a direction to judge: θ_before − θ_after of every trainable
/// parameter.
///
/// In f32 the parameters are rounded to 6e-8 of their size, and so is the difference. Let the
/// optimizer take a step that moves them by much more, on a clone of the model; γ does not depend on
/// the step size. Entries of parameters that did not move are zero.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::optim::{AdamWConfig, GradientsParams};
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_ief::eval::{Fisher, LossKind, displacement, summed_gradient};
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
/// let sgd = summed_gradient(loss().backward(), &model, 1.0);
/// let at = Fisher::new(LossKind::LeastSquares).at(&model, |m| m.forward_recorded(x.clone()))?;
/// let ratio = at.quality(&adamw, &sgd)?.ratio(&at.quality(&sgd, &sgd)?);
/// assert!(ratio.is_finite());
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`EvalError::ForeignDirection`](crate::error::EvalError::ForeignDirection) if `after` lacks a trainable parameter of `before`,
/// [`Error::RowShape`] if one has another shape in `after`.
pub fn displacement<M: Module>(before: &M, after: &M) -> Result<GradientsParams, Error> {
    let after = values(after, |_| true);
    let before = values(before, |trainable| trainable);
    let entries = before.len();
    let mut difference = Direction::default();
    let mut params = Vec::with_capacity(entries);
    for Value { param, value } in before {
        let Some(after) = after.iter().find(|after| after.param.id == param.id) else {
            continue;
        };
        if after.param.shape != param.shape {
            return Err(Error::RowShape {
                parameter: param.path,
                expected: param.shape.to_string(),
                found: after.param.shape.to_string(),
            });
        }
        let after = after.value.clone().to_device(&value.device());
        let after = after.cast(value.dtype());
        difference.add(param.id, value - after);
        params.push(param);
    }
    if params.len() < entries {
        return Err(Error::Eval(EvalError::ForeignDirection {
            what: "model after the step",
            entries,
            matched: params.len(),
        }));
    }
    Ok(difference.into_gradients(&params))
}

/// A parameter with its value: flattened, off the tape, in f32 at least.
struct Value {
    param: ParamInfo,
    value: Tensor<1>,
}

/// The parameters of a module, each of them once, for which `choose` holds; its argument says
/// whether the parameter is trainable.
fn values<M: Module>(module: &M, choose: impl Fn(bool) -> bool) -> Vec<Value> {
    struct Collect<F> {
        choose: F,
        values: Vec<Value>,
    }
    impl<F: Fn(bool) -> bool> ParamVisitor for Collect<F> {
        fn float<const D: usize>(&mut self, place: &Place<'_>, param: &Param<Tensor<D>>) {
            // A parameter that two layers share is visited twice.
            let known = self.values.iter().any(|known| known.param.id == param.id);
            if known || !(self.choose)(param.is_require_grad()) {
                return;
            }
            let info = ParamInfo::new(place, param);
            self.values.push(Value {
                value: widen(param.base().inner()).reshape([info.len()]),
                param: info,
            });
        }
    }
    let mut collect = Collect {
        choose,
        values: Vec::new(),
    };
    visit(module, &mut collect);
    collect.values
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
            Err(Error::Eval(EvalError::ForeignDirection {
                entries: 2,
                matched: 0,
                ..
            }))
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
