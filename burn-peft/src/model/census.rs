//! The modules of a model, by the names of `transformers`.

use std::collections::HashSet;

use burn::module::{Module, Param};
use burn::tensor::{Shape, Tensor};

use super::walk::{self, Look, Place};
use crate::names::NameMap;
use crate::target::ModuleKind;

/// A layer that can carry an adapter.
pub(super) struct Layer {
    /// Path of the module in the Burn model.
    pub path: String,
    pub weight: Weight,
}

/// The weight of a layer, without its adapters.
pub(super) enum Weight {
    Two(Param<Tensor<2>>, ModuleKind),
    Four(Param<Tensor<4>>),
}

/// A parameter that belongs to the model itself.
pub(super) struct Own {
    /// Path of its module.
    pub path: String,
    /// Name of its module.
    pub module: String,
    /// Name of the field in Burn.
    pub leaf: String,
    /// Name in `transformers`.
    pub key: String,
    /// Whether `transformers` keeps the transpose.
    pub transposed: bool,
    pub shape: Shape,
}

/// Everything that targets, keys and shapes are checked against.
pub(super) struct Census {
    /// Names and kinds of all modules, parents before their children.
    pub modules: Vec<(String, ModuleKind)>,
    /// Layers by name.
    pub layers: Vec<(String, Layer)>,
    pub parameters: Vec<Own>,
}

impl Census {
    pub fn of<M: Module>(model: &M, names: &NameMap) -> Self {
        let mut count = Count {
            names,
            seen: HashSet::new(),
            census: Self {
                modules: Vec::new(),
                layers: Vec::new(),
                parameters: Vec::new(),
            },
        };
        walk::visit(model, &mut count);
        count.census
    }

    pub fn layer(&self, name: &str) -> Option<&Layer> {
        let (_, layer) = self.layers.iter().find(|(own, _)| own == name)?;
        Some(layer)
    }

    /// The parameter that `transformers` calls so.
    pub fn parameter(&self, key: &str) -> Option<&Own> {
        self.parameters.iter().find(|own| own.full_key() == key)
    }
}

struct Count<'a> {
    names: &'a NameMap,
    seen: HashSet<String>,
    census: Census,
}

impl Count<'_> {
    fn list(&mut self, name: &str, kind: ModuleKind) {
        if !name.is_empty() && self.seen.insert(name.into()) {
            self.census.modules.push((name.into(), kind));
        }
    }
}

impl Look for Count<'_> {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>) {
        if place.is_nested() {
            return;
        }
        let path = place.module();
        let module = self.names.name(&path);
        let (key, transposed) = stored(place.holder(), place.leaf());
        self.census.parameters.push(Own {
            path: path.clone(),
            module: module.clone(),
            leaf: place.leaf().into(),
            key: key.into(),
            transposed,
            shape: param.lazy_shape(),
        });
        // Parents first: `a.b.c` has the modules `a` and `a.b` above it.
        for (at, _) in module.match_indices('.') {
            self.list(&module[..at], ModuleKind::Other);
        }
        let kind = match (place.holder(), place.leaf()) {
            ("Linear", "weight") => ModuleKind::Linear,
            ("Embedding", "weight") => ModuleKind::Embedding,
            ("Conv2d", "weight") => ModuleKind::Conv2d,
            _ => return self.list(&module, ModuleKind::Other),
        };
        self.list(&module, kind);
        if let Some(weight) = Weight::new(param, kind) {
            let layer = Layer { path, weight };
            self.census.layers.push((module, layer));
        }
    }
}

impl Weight {
    fn new<const D: usize>(param: &Param<Tensor<D>>, kind: ModuleKind) -> Option<Self> {
        let param: Box<dyn std::any::Any> = Box::new(param.clone());
        match kind {
            ModuleKind::Conv2d => Some(Self::Four(*param.downcast().ok()?)),
            _ => Some(Self::Two(*param.downcast().ok()?, kind)),
        }
    }
}

/// How `transformers` calls a parameter, and whether it keeps the transpose.
fn stored<'a>(holder: &str, leaf: &'a str) -> (&'a str, bool) {
    match (holder, leaf) {
        ("Linear", "weight") => ("weight", true),
        (_, "gamma") => ("weight", false),
        (_, "beta") => ("bias", false),
        _ => (leaf, false),
    }
}
