//! New values of parameters, by path.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::walk::{self, Change, Place};
use crate::adapters::replace;

/// Values by the path of the parameter, a plain tensor of its rank each.
pub(super) type Values = HashMap<String, Box<dyn Any>>;

/// Give parameters new values as they are: a quantised weight becomes dense.
pub(super) fn put<M: Module>(model: M, values: Values) -> M {
    if values.is_empty() {
        return model;
    }
    walk::map(model, &mut Put(values))
}

struct Put(Values);

impl Change for Put {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        match self.0.remove(&place.path.join(".")) {
            Some(value) => replace(param, |old| tensor_of::<D>(value).to_device(&old.device())),
            None => param,
        }
    }
}

/// A value at the rank of its parameter.
pub(super) fn tensor_of<const D: usize>(value: Box<dyn Any>) -> Tensor<D> {
    match value.downcast::<Tensor<D>>() {
        Ok(value) => *value,
        Err(_) => unreachable!("a value is made at its parameter's rank"),
    }
}
