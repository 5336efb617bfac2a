//! Merging the adapters of a model into its weights, and taking them out again.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::install::{self, Values};
use super::walk::{self, Look, Place, joined};
use crate::adapters::{Folded, plain};

/// Merge the active adapters into their layers, or take merged ones out again.
pub(super) fn fold<M: Module>(model: M, merge: bool) -> M {
    let mut adapted = Adapted::default();
    walk::visit(&model, &mut adapted);
    // A model without adapters to merge, or to take out, needs no pass.
    let paths = if merge { adapted.all } else { adapted.merged };
    if paths.is_empty() {
        return model;
    }
    let mut layers = Layers {
        paths,
        values: HashMap::new(),
    };
    walk::visit(&model, &mut layers);
    // A mapper meets a weight before its adapters and cannot go back: the first pass computes the
    // new weights, the second puts them in place.
    let folded: Rc<RefCell<Values>> = Rc::default();
    let results = folded.clone();
    let mut values = layers.values;
    let model = walk::edit_adapters(model, move |path, adapters| {
        let Some(layer) = values.remove(path) else {
            return;
        };
        if let Some(layer) = adapters.fold(layer, merge) {
            let mut results = results.borrow_mut();
            results.insert(joined(path, "weight"), layer.weight);
            if let Some(bias) = layer.bias {
                results.insert(joined(path, "bias"), Box::new(bias));
            }
        }
    });
    install::put(model, folded.take())
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
