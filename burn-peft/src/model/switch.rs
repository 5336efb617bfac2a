//! Switching and removing the adapters of a model.
//!
//! Merged adapters are taken out of the weights before anything about them changes, as in PEFT: the
//! weights hold what was active when they were merged.

use std::collections::BTreeSet;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::merge;
use super::walk::{self, Look, Place};

/// Names of the adapters on the model's weights.
pub(super) fn names<M: Module>(model: &M) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl Look for Names {
        fn look<const D: usize>(&mut self, place: Place<'_>, _param: &Param<Tensor<D>>) {
            if let Some(adapter) = place.adapter() {
                self.0.insert(adapter.name.into());
            }
        }
    }
    let mut names = Names(BTreeSet::new());
    walk::visit(model, &mut names);
    names.0
}

pub(super) fn activate<M: Module>(model: M, active: &[(&str, f64)]) -> M {
    let model = merge::fold(model, false);
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
    let model = merge::fold(model, false);
    walk::edit_adapters(model, move |_, adapters| adapters.set_enabled(enabled))
}

pub(super) fn remove<M: Module>(model: M, name: &str) -> M {
    let model = merge::fold(model, false);
    let name = name.to_string();
    walk::edit_adapters(model, move |_, adapters| adapters.remove(&name))
}
