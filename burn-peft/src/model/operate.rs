//! Switching, merging and removing the adapters of a model.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::values::{self, Values};
use super::walk::{self, Change, Look, Place, joined};

/// Names of the adapters on the model's weights.
pub(super) fn names<M: Module>(model: &M) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Look for Names {
        fn look<const D: usize>(&mut self, place: Place<'_>, _param: &Param<Tensor<D>>) {
            if let Some((_, name, _)) = place.adapter() {
                self.0.insert(name.into());
            }
        }
    }
    let mut names = Names(BTreeSet::new());
    walk::visit(model, &mut names);
    names.0
}

// Merged adapters are taken out of the weights before anything about them changes, as in PEFT: the
// weights hold what was active when they were merged.

pub(super) fn activate<M: Module>(model: M, active: &[(&str, f64)]) -> M {
    let model = fold(model, false);
    let active: Vec<(String, f64)> = active
        .iter()
        .map(|(name, factor)| (name.to_string(), *factor))
        .collect();
    walk::edit_adapters(model, move |_, adapters| {
        let active: Vec<(&str, f64)> = active
            .iter()
            .map(|(name, factor)| (name.as_str(), *factor))
            .collect();
        adapters.set_active(&active);
    })
}

pub(super) fn enable<M: Module>(model: M, enabled: bool) -> M {
    let model = fold(model, false);
    walk::edit_adapters(model, move |_, adapters| adapters.set_enabled(enabled))
}

pub(super) fn remove<M: Module>(model: M, name: &str) -> M {
    let model = fold(model, false);
    let name = name.to_string();
    walk::edit_adapters(model, move |_, adapters| adapters.remove(&name))
}

/// Fold the active adapters into the weights, or take them out again.
pub(super) fn fold<M: Module>(model: M, merge: bool) -> M {
    // A mapper meets a weight before its adapters and cannot go back: the first pass computes the
    // new weights, the second puts them in place.
    let seen: Rc<RefCell<Option<Box<dyn Any>>>> = Rc::default();
    let folded: Rc<RefCell<Values>> = Rc::default();
    let (last, results) = (seen.clone(), folded.clone());
    let model = walk::edit_beside(model, &mut Remember(seen), move |path, adapters| {
        let Some(weight) = last.borrow_mut().take() else {
            return;
        };
        if let Some(weight) = adapters.fold(weight, merge) {
            results.borrow_mut().insert(joined(path, "weight"), weight);
        }
    });
    values::put(model, folded.take())
}

/// Keeps the plain value of the weight it saw last.
struct Remember(Rc<RefCell<Option<Box<dyn Any>>>>);

impl Change for Remember {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        if place.leaf() == "weight" && !place.is_nested() {
            let value = param.base();
            let plain = match value.is_autodiff() {
                true => value.inner(),
                false => value,
            };
            *self.0.borrow_mut() = Some(Box::new(plain));
        }
        param
    }
}
