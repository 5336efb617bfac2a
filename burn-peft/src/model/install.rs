//! Putting an adapter into a model, after everything has been checked.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::carried::{Carried, settle};
use super::values::tensor_of;
use super::walk::{self, Change, Place, joined};
use crate::adapters::{
    AnyAdapters, Carrier, CopyKind, Fresh, Layer, Unadapted, at, carrier, copy_of,
};
use crate::error::Error;
use crate::settings::ranges::refuse;

/// What comes to a model with an adapter.
#[derive(Default)]
pub(super) struct Plan {
    /// The method, as `peft_type` names it.
    method: &'static str,
    /// Adapters by the path of the weight.
    adapters: HashMap<String, Box<dyn Any>>,
    /// What puts a stack for the method's adapters on a weight, by the path of the weight.
    carriers: HashMap<String, Box<dyn Carrier>>,
    /// The adapter's copies of the model's own parameters, by path: the base's value where there is
    /// none.
    copies: HashMap<String, (Option<Box<dyn Any>>, CopyKind)>,
}

impl Plan {
    pub fn new(method: &'static str) -> Self {
        Self {
            method,
            ..Self::default()
        }
    }

    /// A new adapter for the module at `path`.
    pub fn add(&mut self, path: &str, fresh: Fresh) {
        let weight = joined(path, "weight");
        if let Some(rest) = fresh.rest {
            self.copy(weight.clone(), Some(rest), CopyKind::Fixed);
        }
        self.carriers.insert(weight.clone(), fresh.carrier);
        self.adapters.insert(weight, fresh.adapter);
    }

    /// The adapter's copy of the parameter at `path`.
    pub fn copy(&mut self, path: String, value: Option<Box<dyn Any>>, kind: CopyKind) {
        self.copies.insert(path, (value, kind));
    }

    /// How stacks come to layers that may get adapters of this method later.
    pub fn carry(&mut self, layer: &Layer, carrier: Box<dyn Carrier>) {
        let weight = joined(&layer.path, "weight");
        self.carriers.entry(weight).or_insert(carrier);
    }

    /// Fail if a parameter that gets something carries something of Burn's or of another crate, which
    /// has no room for it.
    pub fn check<M: Module>(&self, model: &M) -> Result<(), Error> {
        let foreign = Carried::of(model).foreign;
        let gets = |path: &str| self.adapters.contains_key(path) || self.copies.contains_key(path);
        match foreign.iter().find(|(path, _)| gets(path)) {
            Some((path, slot)) => refuse(
                "adapters",
                format!("`{slot}` on `{path}`"),
                "expected none but those of burn-peft: `adopt_burn_lora` takes Burn's own over, and \
                 `materialize` puts them into the weights",
            ),
            None => Ok(()),
        }
    }

    /// Whether nothing comes to the model.
    pub fn is_empty(&self) -> bool {
        self.adapters.is_empty() && self.copies.is_empty()
    }
}

/// Carry out the plan on a model that holds the base's parameters. The new adapter becomes the
/// active one under `name`, and exactly what belongs to it trains. An empty plan freezes the model's
/// own parameters.
pub(super) fn install<M: Module>(model: M, name: &str, plan: Plan) -> M {
    let switch = !plan.is_empty();
    let carried = Carried::of(&model);
    let carried_copies = carried.copies;
    let waiting = Rc::new(RefCell::new(Waiting {
        name: name.into(),
        method: plan.method,
        adapters: plan.adapters,
        copies: HashMap::new(),
    }));
    let mut change = Install {
        carried: carried.params.into_keys().collect(),
        carriers: plan.carriers,
        copies: plan.copies,
        waiting: waiting.clone(),
        unsettled: false,
    };
    let model = walk::edit_with(model, &mut change, move |path, adapters| {
        if switch {
            waiting.borrow_mut().load(path, adapters);
        }
    });
    // New stacks hold their parameter already.
    if !(switch && carried_copies || change.unsettled) {
        return model;
    }
    let carried = Carried::of(&model);
    settle(model, carried, true, |_| {})
}

/// What has not come to its parameter yet.
struct Waiting {
    name: String,
    method: &'static str,
    adapters: HashMap<String, Box<dyn Any>>,
    copies: HashMap<String, (Box<dyn Any>, CopyKind)>,
}

impl Waiting {
    /// Everything for the parameter at `path`, active.
    fn load(&mut self, path: &str, adapters: &mut dyn AnyAdapters) {
        if let Some(adapter) = self.adapters.remove(path) {
            adapters.insert(&self.name, adapter);
        }
        if let Some((copy, kind)) = self.copies.remove(path) {
            adapters.add_copy(&self.name, copy, kind, self.method);
        }
        adapters.set_active(&[(&self.name, 1.0)]);
        adapters.set_enabled(true);
    }
}

struct Install {
    /// Paths of the parameters that carry something already.
    carried: HashSet<String>,
    carriers: HashMap<String, Box<dyn Carrier>>,
    copies: HashMap<String, (Option<Box<dyn Any>>, CopyKind)>,
    waiting: Rc<RefCell<Waiting>>,
    /// Whether a parameter that carried something got a copy.
    unsettled: bool,
}

impl Change for Install {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        if place.is_nested() {
            return param;
        }
        let path = place.path.join(".");
        let param = param.set_require_grad(false);
        let copied = self.copies.remove(&path);
        let carries = self.carried.contains(&path);
        self.unsettled |= carries && copied.is_some();
        let gets = copied.is_some() || self.waiting.borrow().adapters.contains_key(&path);
        if let Some((value, kind)) = copied {
            let copy: Box<dyn Any> = Box::new(new_copy(&param, value));
            let mut waiting = self.waiting.borrow_mut();
            waiting.copies.insert(path.clone(), (copy, kind));
        }
        if !gets || carries {
            return param;
        }
        let own = self.carriers.remove(&path);
        let own = own.unwrap_or_else(carrier::<Unadapted, D>);
        let mut load = |adapters: &mut dyn AnyAdapters| {
            self.waiting.borrow_mut().load(&path, adapters);
        };
        match own.attach(Box::new(param), &mut load).downcast() {
            Ok(param) => *param,
            Err(_) => unreachable!("a carrier is made at its weight's rank"),
        }
    }
}

/// A copy of a parameter, with a new value in its precision if there is one.
fn new_copy<const D: usize>(
    param: &Param<Tensor<D>>,
    value: Option<Box<dyn Any>>,
) -> Param<Tensor<D>> {
    let value = value.map(|value| {
        let old = param.base();
        let value = tensor_of::<D>(value).to_device(&old.device().inner());
        if old.dtype().is_float() {
            at(value, old.dtype())
        } else {
            value
        }
    });
    copy_of(param, value)
}
