//! Putting adapters and values into a model, after everything has been checked.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use burn::module::{Module, Param, Reparameterizer};
use burn::tensor::Tensor;

use super::operate;
use super::walk::{self, Change, Place};
use crate::lora::{Adapter, Adapters};

/// Adapters by the path of their module, an `Adapter` of the weight's rank each.
pub(super) type Pending = HashMap<String, Box<dyn Any>>;

/// Hang the adapters on their weights under `name`, which becomes the one active adapter.
pub(super) fn attach<M: Module>(model: M, name: &str, adapters: Pending) -> M {
    let pending = Rc::new(RefCell::new(adapters));
    let (left, own) = (pending.clone(), name.to_string());
    // Weights that carry adapters already take one more.
    let model = walk::edit_adapters(model, move |path, adapters| {
        let Some(adapter) = left.borrow_mut().remove(path) else {
            return;
        };
        if adapters.insert(&own, adapter).is_err() {
            unreachable!("an adapter is made at its weight's rank");
        }
    });
    let model = model
        .apply_reparameterization(Hang::<2>::new(name, &pending))
        .apply_reparameterization(Hang::<4>::new(name, &pending));
    operate::activate(model, &[(name, 1.0)])
}

struct Hang<const D: usize> {
    name: String,
    pending: Rc<RefCell<Pending>>,
}

impl<const D: usize> Hang<D> {
    fn new(name: &str, pending: &Rc<RefCell<Pending>>) -> Self {
        Self {
            name: name.into(),
            pending: pending.clone(),
        }
    }
}

impl<const D: usize> Reparameterizer for Hang<D> {
    type Reparam = Adapters<D>;

    fn reparameterize<const E: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<E>>,
    ) -> (Param<Tensor<E>>, Option<Adapters<D>>) {
        let Some(module) = path
            .strip_suffix(".weight")
            .filter(|_| D == E)
            .or(match path {
                // The model is the layer itself.
                "weight" if D == E => Some(""),
                _ => None,
            })
        else {
            return (param, None);
        };
        let mut pending = self.pending.borrow_mut();
        if !pending
            .get(module)
            .is_some_and(|adapter| adapter.is::<Adapter<D>>())
        {
            return (param, None);
        }
        let adapter = pending.remove(module);
        let adapter = adapter.and_then(|adapter| adapter.downcast::<Adapter<D>>().ok());
        let adapters = adapter.map(|adapter| Adapters::new(&self.name, *adapter));
        (param, adapters)
    }
}

/// Values of the model's own parameters by path, a plain tensor of the parameter's rank each.
pub(super) fn set<M: Module>(model: M, values: HashMap<String, Box<dyn Any>>) -> M {
    if values.is_empty() {
        return model;
    }
    walk::map(model, &mut Set(values))
}

struct Set(HashMap<String, Box<dyn Any>>);

impl Change for Set {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let Some(value) = self.0.remove(&place.path.join(".")) else {
            return param;
        };
        match value.downcast::<Tensor<D>>() {
            Ok(value) => crate::lora::replace(param, |_| *value),
            Err(_) => unreachable!("a value is made at its parameter's rank"),
        }
    }
}

/// Train exactly the model's own parameters that `trains` names by path, and leave the adapters
/// as they are.
pub(super) fn train_only<M: Module>(model: M, trains: impl Fn(&str) -> bool) -> M {
    struct Freeze<F>(F);
    impl<F: Fn(&str) -> bool> Change for Freeze<F> {
        fn change<const D: usize>(
            &mut self,
            place: Place<'_>,
            param: Param<Tensor<D>>,
        ) -> Param<Tensor<D>> {
            match place.adapter() {
                Some(_) => param,
                None => {
                    let trains = self.0(&place.path.join("."));
                    param.set_require_grad(trains)
                }
            }
        }
    }
    walk::map(model, &mut Freeze(trains))
}
