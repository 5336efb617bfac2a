//! Putting adapters into a model, after everything has been checked.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::walk::{self, Change, Place, joined};
use crate::adapters::{Fresh, Layer, NewAdapter, at, replace};

/// Values by the path of the parameter, a plain tensor of its rank each.
pub(super) type Values = HashMap<String, Box<dyn Any>>;

/// What changes about a model when an adapter comes to it.
#[derive(Default)]
pub(super) struct Plan {
    /// Adapters for weights that carry none yet, by the path of the weight.
    first: HashMap<String, Box<dyn NewAdapter>>,
    /// Adapters for weights that carry some, by the path of the module.
    further: HashMap<String, Box<dyn NewAdapter>>,
    /// New values of the model's own parameters.
    pub values: Values,
    /// Paths of the model's own parameters that train.
    trains: HashSet<String>,
}

impl Plan {
    /// Nothing but which of the model's own parameters train.
    pub fn new(trains: HashSet<String>) -> Self {
        Self {
            trains,
            ..Self::default()
        }
    }

    /// A new adapter for the module at `path`, whose weight carries none.
    pub fn attach(&mut self, path: &str, fresh: Fresh) {
        self.first.insert(joined(path, "weight"), fresh.adapter);
    }

    /// A new adapter for a layer.
    pub fn add(&mut self, layer: &Layer, fresh: Fresh) {
        let weight = joined(&layer.path, "weight");
        if let Some(rest) = fresh.rest {
            self.values.insert(weight.clone(), rest);
        }
        if layer.adapted {
            self.further.insert(layer.path.clone(), fresh.adapter);
        } else {
            self.first.insert(weight, fresh.adapter);
        }
    }
}

/// Carry out the plan in one pass over the model. The new adapters become the active ones under
/// `name`; without any, those that are there stay as they are. Exactly the parameters that the plan
/// names train, and the adapters.
pub(super) fn install<M: Module>(model: M, name: &str, plan: Plan) -> M {
    let switch = !(plan.first.is_empty() && plan.further.is_empty());
    let further = Rc::new(RefCell::new(plan.further));
    let own = name.to_string();
    let mut change = Install {
        name: name.into(),
        first: plan.first,
        values: plan.values,
        trains: plan.trains,
    };
    walk::edit_with(model, &mut change, move |path, adapters| {
        if let Some(adapter) = further.borrow_mut().remove(path) {
            adapters.insert(&own, adapter.into_any());
        }
        if switch {
            adapters.set_active(&[(&own, 1.0)]);
        }
    })
}

struct Install {
    name: String,
    first: HashMap<String, Box<dyn NewAdapter>>,
    values: Values,
    trains: HashSet<String>,
}

impl Change for Install {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        if place.adapter().is_some() {
            return param;
        }
        let path = place.path.join(".");
        let param = match self.values.remove(&path) {
            Some(value) => set(param, value, true),
            None => param,
        };
        let param = param.set_require_grad(self.trains.contains(&path));
        let Some(adapter) = self.first.remove(&path) else {
            return param;
        };
        match adapter.attach(&self.name, Box::new(param)).downcast() {
            Ok(param) => *param,
            Err(_) => unreachable!("a weight with adapters is a weight of the same rank"),
        }
    }
}

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
            Some(value) => set(param, value, false),
            None => param,
        }
    }
}

/// A parameter with a new value on its device, and in its precision if `cast` is set.
fn set<const D: usize>(
    param: Param<Tensor<D>>,
    value: Box<dyn Any>,
    cast: bool,
) -> Param<Tensor<D>> {
    let Ok(value) = value.downcast::<Tensor<D>>() else {
        unreachable!("a value is made at its parameter's rank");
    };
    replace(param, |old| {
        let value = value.to_device(&old.device());
        if cast && old.dtype().is_float() {
            at(value, old.dtype())
        } else {
            value
        }
    })
}
