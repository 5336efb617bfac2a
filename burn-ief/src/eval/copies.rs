//! Copies of a model: moved along a direction, or set to evaluation.

use burn::module::{Flag, Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use crate::params::Direction;

/// A copy of the model at θ + step, or at θ − step.
pub(super) fn moved<M: Module>(module: &M, step: &Direction, forward: bool) -> M {
    struct Move<'a> {
        step: &'a Direction,
        forward: bool,
    }
    impl ModuleMapper for Move<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(step) = self.step.get(param.id) else {
                return param;
            };
            let forward = self.forward;
            param.map(move |value| {
                let step = step.to_device(&value.device());
                let step = step.cast(value.dtype()).reshape(value.shape());
                if forward { value + step } else { value - step }
            })
        }
    }
    module.clone().map(&mut Move { step, forward })
}

/// A copy of the model that computes as in evaluation (dropout off, BatchNorm on its running
/// statistics) and still has gradients.
pub(super) fn evaluating<M: Module>(module: &M) -> M {
    struct Disable;
    impl ModuleMapper for Disable {
        fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
            flag.with_value(false)
        }
    }
    module.clone().map(&mut Disable)
}
