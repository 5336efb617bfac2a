//! New values for a model's own parameters.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::walk::{self, Change, Place};
use crate::lora::{at, replace};

/// Values by the path of the parameter, a plain tensor of its rank each.
pub(super) type Values = HashMap<String, Box<dyn Any>>;

/// Give parameters new values, on the device and in the precision of their old ones.
pub(super) fn set<M: Module>(model: M, values: Values) -> M {
    match values.is_empty() {
        true => model,
        false => walk::map(model, &mut Set { values, cast: true }),
    }
}

/// Give parameters new values as they are: a quantised weight becomes dense.
pub(super) fn put<M: Module>(model: M, values: Values) -> M {
    match values.is_empty() {
        true => model,
        false => walk::map(
            model,
            &mut Set {
                values,
                cast: false,
            },
        ),
    }
}

struct Set {
    values: Values,
    cast: bool,
}

impl Change for Set {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let Some(value) = self.values.remove(&place.path.join(".")) else {
            return param;
        };
        let Ok(value) = value.downcast::<Tensor<D>>() else {
            unreachable!("a value is made at its parameter's rank");
        };
        replace(param, |old| {
            let value = value.to_device(&old.device());
            match self.cast && old.dtype().is_float() {
                true => at(value, old.dtype()),
                false => value,
            }
        })
    }
}
