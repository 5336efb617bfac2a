//! An embedding table that is the output head as well.
//!
//! The look-up and the head share the base table. An adapter changes one of the two: what it does
//! to the table belongs to the look-up, and what it does to the head is kept in a layer of its own
//! that only adapters of the head bring into being. It is carried by the table's weight.

use burn::module::{Module, ModuleMapper, ModuleVisitor};
use burn::nn::Linear;

/// Name and container of the head's own layer in the slot of the table's adapters. The container's
/// name goes on with the head's name.
const HEAD: &str = "head";
pub(crate) const STORED_HEAD: &str = "Stored:Head:";

/// The output head that shares a table.
#[derive(Debug, Clone)]
pub(crate) struct TiedHead {
    /// Its name in `transformers`.
    pub name: String,
    /// The head as a layer with a weight `[d, entries]`, once an adapter changes it. Until then the
    /// base table is the head.
    pub layer: Option<Linear>,
}

impl TiedHead {
    fn container(&self) -> String {
        format!("{STORED_HEAD}{}", self.name)
    }

    pub fn each(self, change: impl FnOnce(Linear) -> Linear) -> Self {
        Self {
            name: self.name,
            layer: self.layer.map(change),
        }
    }

    pub fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        if let Some(layer) = &self.layer {
            let container = self.container();
            visitor.enter_module(HEAD, &container);
            layer.visit(visitor);
            visitor.exit_module(HEAD, &container);
        }
    }

    pub fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let container = self.container();
        self.each(|layer| {
            mapper.enter_module(HEAD, &container);
            let layer = layer.map(mapper);
            mapper.exit_module(HEAD, &container);
            layer
        })
    }
}
