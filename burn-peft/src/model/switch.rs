//! Whose parameters a model uses: every switch between adapters goes through [`settle`].
//!
//! An adapter consists of its factors and of its own copies of some of the model's parameters. The
//! factors stay where they are, and a flag says whether they take part. A copy is in use while the
//! model's module holds it. Merged adapters are taken out of the weights before anything about them
//! changes, as in PEFT: the weights hold what was active when they were merged.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use burn::module::Module;

use super::carried::{Carried, settle};
use super::merge;
use crate::adapters::CopyKind;
use crate::error::Error;

/// The model with the base's parameters in place and without the adapter `name`; the others are off.
pub(super) fn base<M: Module>(model: M, name: &str) -> M {
    let model = merge::unmerge(model);
    let carried = Carried::of(&model);
    if !carried.copies && !carried.names.contains(name) {
        return model;
    }
    let name = name.to_string();
    settle(model, carried, false, move |adapters| {
        adapters.remove(&name);
        adapters.set_enabled(false);
    })
}

/// The model with the parameters of one adapter in place.
pub(super) fn only<M: Module>(model: M, name: &str) -> M {
    let model = merge::unmerge(model);
    let carried = Carried::of(&model);
    if !carried.copies {
        return model;
    }
    let name = name.to_string();
    settle(model, carried, false, move |adapters| {
        adapters.set_active(&[(&name, 1.0)]);
        adapters.set_enabled(true);
    })
}

/// Make these the active adapters.
pub(super) fn activate<M: Module>(model: M, active: &[(&str, f64)]) -> Result<M, Error> {
    let model = merge::unmerge(model);
    let carried = Carried::of(&model);
    check(&carried, active)?;
    let active: Vec<(String, f64)> = active
        .iter()
        .map(|(name, factor)| (name.to_string(), *factor))
        .collect();
    let model = settle(model, carried, true, move |adapters| {
        let active = active.iter();
        let active: Vec<(&str, f64)> = active
            .map(|(name, factor)| (name.as_str(), *factor))
            .collect();
        adapters.set_active(&active);
    });
    Ok(model)
}

/// Whether these adapters can be active together.
fn check(carried: &Carried, active: &[(&str, f64)]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for (name, factor) in active {
        if !carried.names.contains(*name) {
            return Err(unknown(name, &carried.names));
        }
        if !factor.is_finite() {
            return Err(Error::AdapterFactor {
                name: name.to_string(),
                factor: factor.to_string(),
            });
        }
        if !seen.insert(*name) {
            return Err(Error::AdapterTwice {
                name: name.to_string(),
            });
        }
    }
    for (parameter, owners) in &carried.owners {
        let owners: BTreeMap<_, _> = owners
            .iter()
            .filter(|(owner, _)| seen.contains(owner.as_str()))
            .collect();
        // What is fixed is a change of the base, and several of these add up.
        let trained = owners.values().any(|kind| **kind == CopyKind::Trained);
        if trained && owners.len() > 1 {
            return Err(Error::SeveralOwners {
                parameter: parameter.clone(),
                adapters: owners.into_keys().cloned().collect(),
            });
        }
    }
    Ok(())
}

/// The error for a name that no adapter has.
pub(super) fn unknown(name: &str, known: &BTreeSet<String>) -> Error {
    Error::UnknownAdapter {
        name: name.into(),
        known: known.iter().cloned().collect(),
    }
}

/// Switch all adapters on or off.
pub(super) fn enable<M: Module>(model: M, enabled: bool) -> M {
    let model = merge::unmerge(model);
    let carried = Carried::of(&model);
    settle(model, carried, false, move |adapters| {
        adapters.set_enabled(enabled);
    })
}

/// Remove an adapter. As in PEFT, the first of the others becomes active if it was the only active
/// one.
pub(super) fn remove<M: Module>(model: M, name: &str) -> Result<M, Error> {
    let model = merge::unmerge(model);
    let carried = Carried::of(&model);
    if !carried.names.contains(name) {
        return Err(unknown(name, &carried.names));
    }
    let mut left = carried.names.clone();
    left.remove(name);
    let Some(next) = left.pop_first() else {
        // Nothing is left: the model carries nothing any more.
        return Ok(unload(model));
    };
    let removed = name.to_string();
    let active: Rc<RefCell<BTreeSet<String>>> = Rc::default();
    let before = active.clone();
    let model = settle(model, carried, false, move |adapters| {
        let names = adapters.active().into_iter().map(|(name, _)| name);
        before.borrow_mut().extend(names);
        adapters.remove(&removed);
    });
    let was_alone = active.take() == BTreeSet::from([name.to_string()]);
    if was_alone {
        return activate(model, &[(&next, 1.0)]);
    }
    Ok(model)
}

/// Drop all adapters and everything that belongs to them.
pub(super) fn unload<M: Module>(model: M) -> M {
    enable(model, false).materialize()
}
