//! γ of the updates and products with the Fisher matrix.

use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn_ief::eval::{Fisher, FisherAt, GammaMethod, LossKind};

use crate::case::Case;
use crate::error::Error;
use crate::place::Place;
use crate::results::Results;
use crate::weights::Parameter;

/// Judges the directions of one batch, by exact passes.
pub(crate) struct Judge<'a, M> {
    at: FisherAt<'a, M>,
}

impl<'a, M: Module> Judge<'a, M> {
    /// `forward` computes the recorded outputs.
    pub fn new<const D: usize>(
        loss: LossKind,
        module: &'a M,
        forward: impl Fn(&M) -> Tensor<D> + 'a,
    ) -> Result<Self, Error> {
        let fisher = Fisher::new(loss).with_method(GammaMethod::Exact);
        let at = fisher.at(module, forward);
        Ok(Self {
            at: at.map_err(Error::compute("gamma"))?,
        })
    }

    /// γ of a direction; NaN where the loss does not change along it.
    pub fn gamma(
        &self,
        name: &str,
        direction: &GradientsParams,
        gradient: &GradientsParams,
    ) -> Result<f64, Error> {
        match self.at.quality(direction, gradient) {
            Ok(quality) => Ok(quality.gamma()),
            Err(burn_ief::Error::Eval(burn_ief::error::EvalError::ZeroSlope)) => Ok(f64::NAN),
            Err(error) => Err(Error::compute(name)(error)),
        }
    }

    /// `fvp.Fv.*`, F times the case's `fvp.v.*`.
    pub fn put_product(
        &self,
        case: &Case,
        place: &Place,
        parameters: &[Parameter],
        results: &mut Results,
    ) -> Result<(), Error> {
        let mut v = GradientsParams::new();
        for parameter in parameters {
            let shape: Vec<Option<usize>> = parameter.shape.iter().copied().map(Some).collect();
            let values = case.floats(&format!("fvp.v.{}", parameter.name), &shape)?;
            parameter.register(values, place, &mut v);
        }
        let product = self.at.product(&v).map_err(Error::compute("fvp"))?;
        for parameter in parameters {
            let name = format!("fvp.Fv.{}", parameter.name);
            results.put(name, parameter.shape.clone(), parameter.read(&product));
        }
        Ok(())
    }
}
