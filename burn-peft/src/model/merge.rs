//! Merging the adapters of a model into its weights, and taking them out again.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::carried::Carried;
use super::values::{self, Values};
use super::walk::{self, Look, Place, joined};
use crate::adapters::{Folded, plain};
use crate::error::Error;

/// Merge the active adapters into their layers.
pub(super) fn merge<M: Module>(model: M) -> Result<M, Error> {
    let (model, problem) = fold(model, true);
    match problem {
        None => Ok(model),
        Some(problem) => Err(problem),
    }
}

/// Take merged adapters out of their layers again.
pub(super) fn unmerge<M: Module>(model: M) -> M {
    fold(model, false).0
}

/// The same with nothing left of the adapters.
pub(super) fn merge_and_unload<M: Module>(model: M) -> Result<M, Error> {
    check_tied(&model)?;
    Ok(merge(model)?.materialize())
}

/// Merge the active adapters into their layers, or take merged ones out again; with the first
/// problem of a layer, which keeps its value.
fn fold<M: Module>(model: M, merge: bool) -> (M, Option<Error>) {
    let mut adapted = Adapted::default();
    walk::visit(&model, &mut adapted);
    // A model without adapters to merge, or to take out, needs no pass.
    let paths = if merge { adapted.all } else { adapted.merged };
    if paths.is_empty() {
        return (model, None);
    }
    let mut layers = Layers {
        paths,
        values: HashMap::new(),
    };
    walk::visit(&model, &mut layers);
    // A mapper meets a weight before its adapters and cannot go back: the first pass computes the
    // new weights, the second puts them in place.
    let folded: Rc<RefCell<(Values, Option<Error>)>> = Rc::default();
    let results = folded.clone();
    let mut values = layers.values;
    let model = walk::edit_adapters(model, move |path, adapters| {
        let Some(module) = module_of(path) else {
            return;
        };
        let Some(layer) = values.remove(module) else {
            return;
        };
        let (results, problem) = &mut *results.borrow_mut();
        match adapters.fold(layer, merge) {
            Ok(None) => {}
            Ok(Some(layer)) => {
                results.insert(path.into(), layer.weight);
                if let Some(bias) = layer.bias {
                    results.insert(joined(module, "bias"), Box::new(bias));
                }
            }
            Err(reason) => {
                let names = adapters.at_work();
                problem.get_or_insert_with(|| Error::merge(path, &names, reason));
            }
        }
    });
    let (values, problem) = folded.take();
    (values::put(model, values), problem)
}

/// The module of a weight.
fn module_of(path: &str) -> Option<&str> {
    match path.strip_suffix("weight") {
        Some("") => Some(""),
        Some(module) => module.strip_suffix('.'),
        None => None,
    }
}

/// Fail if adapters change a table or the output head that shares it: a model without adapters has
/// one table for both.
pub(super) fn check_tied<M: Module>(model: &M) -> Result<(), Error> {
    let found: Rc<RefCell<Option<Error>>> = Rc::default();
    let problem = found.clone();
    let carried = Carried::of(model);
    if carried.params.is_empty() {
        return Ok(());
    }
    // A visitor does not reach what a parameter carries, so a clone is mapped.
    let mut tied: Option<(String, String)> = None;
    walk::edit_adapters(model.clone(), move |path, adapters| {
        // The layer of a head comes right after its table.
        let name = match (adapters.tied_to(), &tied) {
            (Some(head), _) => {
                let head = head.to_string();
                tied = Some((path.into(), head.clone()));
                head
            }
            (None, Some((table, head))) if path.starts_with(&format!("{table}.")) => head.clone(),
            _ => return,
        };
        let names = adapters.at_work();
        if !names.is_empty() {
            let table = tied.as_ref().map_or(path, |(table, _)| table);
            problem.borrow_mut().get_or_insert(Error::TiedMerge {
                table: table.into(),
                head: name,
                adapters: names,
            });
        }
    });
    match found.take() {
        None => Ok(()),
        Some(problem) => Err(problem),
    }
}

/// Paths of the modules whose weights carry adapters, and of those where they are merged.
#[derive(Default)]
struct Adapted {
    all: HashSet<String>,
    merged: HashSet<String>,
}

impl Look for Adapted {
    fn look<const D: usize>(&mut self, place: Place<'_>, _param: &Param<Tensor<D>>) {
        let Some(adapter) = place.adapter() else {
            return;
        };
        if adapter.merged {
            self.merged.insert(adapter.module.clone());
        }
        self.all.insert(adapter.module);
    }
}

/// The plain values of these layers.
struct Layers {
    paths: HashSet<String>,
    values: HashMap<String, Folded>,
}

impl Look for Layers {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>) {
        let path = place.module();
        if place.is_nested() || !self.paths.contains(&path) {
            return;
        }
        let value: Box<dyn std::any::Any> = Box::new(plain(param));
        match place.leaf() {
            "weight" => {
                let layer = Folded {
                    weight: value,
                    bias: None,
                };
                self.values.insert(path, layer);
            }
            // Burn's layers have the weight first.
            "bias" => {
                if let (Some(layer), Ok(bias)) =
                    (self.values.get_mut(&path), value.downcast::<Tensor<1>>())
                {
                    layer.bias = Some(*bias);
                }
            }
            _ => {}
        }
    }
}
