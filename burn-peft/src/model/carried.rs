//! What the parameters of a model carry, and which of it they hold.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::walk::{self, Change, Look, Place};
use crate::adapters::{AnyAdapters, CopyKind, SLOT};

/// Parameters by path, a `Param` of its rank each.
type Params = HashMap<String, Box<dyn Any>>;

/// What the parameters of a model carry.
#[derive(Default)]
pub(super) struct Carried {
    /// The parameters that carry something.
    pub params: Params,
    /// Names of the adapters.
    pub names: BTreeSet<String>,
    /// Whether some adapter has a copy of a parameter.
    pub copies: bool,
    /// The adapters that have a copy, by path of the parameter.
    pub owners: BTreeMap<String, BTreeMap<String, CopyKind>>,
    /// Paths of the parameters that carry something that is not of this crate, and what it is.
    pub foreign: BTreeMap<String, String>,
    /// The parameter that was seen last.
    last: Option<(String, Box<dyn Any>)>,
}

impl Carried {
    pub fn of<M: Module>(model: &M) -> Self {
        let mut carried = Self::default();
        walk::visit(model, &mut carried);
        carried
    }
}

impl Look for Carried {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>) {
        if let Some(adapter) = place.adapter() {
            self.names.insert(adapter.name.into());
        }
        if !place.is_nested() {
            self.last = Some((place.path.join("."), Box::new(param.clone())));
        }
    }

    fn enter(&mut self, place: Place<'_>) {
        if let Some(slot) = place.reparameterization() {
            let last = self.last.take();
            if slot == SLOT {
                self.params.extend(last);
            } else {
                let foreign = last.map(|(path, _)| (path, slot.to_string()));
                self.foreign.extend(foreign);
            }
        }
        if let Some(copy) = place.copy() {
            self.copies = true;
            self.names.insert(copy.name.into());
            let owners = self.owners.entry(copy.path).or_default();
            owners.insert(copy.name.into(), copy.kind);
        }
    }
}

/// Names of the adapters on a model.
pub(super) fn names<M: Module>(model: &M) -> BTreeSet<String> {
    Carried::of(model).names
}

/// Change what the parameters carry with `edit`, then let every module hold the parameter of its
/// active adapter, or the base's. With `wake` the trained copies that are in use require a gradient
/// afterwards, otherwise only those that come into use.
pub(super) fn settle<M: Module>(
    model: M,
    carried: Carried,
    wake: bool,
    mut edit: impl FnMut(&mut dyn AnyAdapters) + 'static,
) -> M {
    if carried.params.is_empty() {
        return model;
    }
    let settled: Rc<RefCell<Params>> = Rc::default();
    let results = settled.clone();
    let mut params = carried.params;
    // A mapper meets a parameter before what it carries and cannot go back: the first pass decides,
    // the second puts the parameters in place.
    let model = walk::edit_adapters(model, move |path, adapters| {
        edit(adapters);
        let param = params
            .remove(path)
            .and_then(|param| adapters.settle(param, wake));
        results
            .borrow_mut()
            .extend(param.map(|param| (path.to_string(), param)));
    });
    let settled = settled.take();
    if settled.is_empty() {
        return model;
    }
    walk::map(model, &mut Hold(settled))
}

/// Puts parameters in place of those that are there.
struct Hold(Params);

impl Change for Hold {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let Some(new) = self.0.remove(&place.path.join(".")) else {
            return param;
        };
        match new.downcast() {
            Ok(new) => *new,
            Err(_) => unreachable!("a parameter is settled at its rank"),
        }
    }
}
