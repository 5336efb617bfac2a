//! Normalisation layers.
//!
//! Scale and shift are small. Each is expanded to one copy per sample, and `backward` gives the
//! gradients of the copies: these are the rows.

mod any_norm;
mod batch_norm;
mod group_norm;
mod layer_norm;

pub use batch_norm::{freeze_statistics, unfreeze_statistics};

use burn::module::Param;
use burn::tensor::Tensor;

use super::expand_param::broadcast;
use crate::record::Recorder;

fn trains(parameter: Option<&Param<Tensor<1>>>) -> bool {
    parameter.is_some_and(|parameter| parameter.is_require_grad())
}

/// Applies scale and shift along one axis, expanded to one copy per sample where they train.
struct Affine<'a> {
    recorder: &'a Recorder,
    axis: usize,
}

impl Affine<'_> {
    fn scale<const D: usize>(&self, x: Tensor<D>, gamma: &Param<Tensor<1>>) -> Tensor<D> {
        let gamma = self.expanded(gamma, &x);
        x * gamma
    }

    fn shift<const D: usize>(&self, x: Tensor<D>, beta: &Param<Tensor<1>>) -> Tensor<D> {
        let beta = self.expanded(beta, &x);
        x + beta
    }

    /// The parameter, broadcastable to `x` and of its dtype.
    fn expanded<const D: usize>(&self, parameter: &Param<Tensor<1>>, x: &Tensor<D>) -> Tensor<D> {
        assert!(
            self.axis > 0,
            "axis 0 is the batch, it cannot be normalised"
        );
        let mut shape = [1; D];
        shape[self.axis] = parameter.shape()[0];
        broadcast(self.recorder, parameter, x, shape)
    }
}
