//! Edits of the adapters of a weight whose method and rank are not known where the edit is made.

use std::any::Any;

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::Tensor;

use super::{Adapters, MergedLayer};
use crate::adapters::copies::CopyKind;
use crate::adapters::edit::{AnyAdapters, Folded};
use crate::adapters::layer_adapter::LayerAdapter;
use crate::adapters::merged::NotFinite;
use crate::adapters::shared::Shared;
use crate::adapters::tied::TiedHead;

impl<A: LayerAdapter<D>, const D: usize> Adapters<A, D> {
    /// Take merged adapters out of the plain weight and bias of their layer.
    fn unmerge(mut self, weight: Tensor<D>, bias: Option<Tensor<1>>) -> MergedLayer<Self, D> {
        let Some(merged) = self.merged.take() else {
            return (self, weight, None);
        };
        let weight = merged.weight.undo(weight);
        let bias = bias
            .zip(merged.bias)
            .map(|(bias, merged)| merged.undo(bias));
        (self, weight, bias)
    }
}

impl<A: LayerAdapter<D>, const D: usize> AnyAdapters for Adapters<A, D> {
    fn insert(&mut self, name: &str, adapter: Box<dyn Any>) {
        match adapter.downcast::<A>() {
            Ok(adapter) => *self = self.clone().with(name, *adapter),
            Err(_) => unreachable!("adapters of a weight are of one method and rank"),
        }
    }

    fn add_copy(&mut self, name: &str, copy: Box<dyn Any>, kind: CopyKind, method: &'static str) {
        match copy.downcast::<Param<Tensor<D>>>() {
            Ok(copy) => self.copies.add(name, *copy, kind, method),
            Err(_) => unreachable!("a copy is made at its parameter's rank"),
        }
    }

    fn remove(&mut self, name: &str) {
        *self = self.clone().without(name);
    }

    fn set_active(&mut self, active: &[(&str, f64)]) {
        *self = self.clone().with_active(active);
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    fn settle(&mut self, present: Box<dyn Any>, wake: bool) -> Option<Box<dyn Any>> {
        if self.copies.is_empty() {
            return None;
        }
        match present.downcast::<Param<Tensor<D>>>() {
            Ok(present) => Some(Box::new(self.copies.settle(*present, self.enabled, wake))),
            Err(_) => unreachable!("adapters are attached at their parameter's rank"),
        }
    }

    fn count(&self) -> usize {
        self.entries.len()
    }

    fn active(&self) -> Vec<(String, f64)> {
        let entries = self.entries.iter();
        let entries = entries.filter_map(|entry| Some((entry.name.clone(), entry.factor?)));
        entries.chain(self.copies.active()).collect()
    }

    fn at_work(&self) -> Vec<String> {
        let mut names: Vec<String> = if self.enabled {
            let entries = self.entries.iter();
            let active = entries.filter(|entry| entry.factor.is_some());
            active.map(|entry| entry.name.clone()).collect()
        } else {
            Vec::new()
        };
        if !self.copies.shows_base() {
            names.extend(self.copies.active().map(|(name, _)| name));
        }
        names
    }

    fn tied_to(&self) -> Option<&str> {
        self.tied.as_ref().map(|tied| tied.name.as_str())
    }

    fn tie(&mut self, name: &str, layer: Option<Linear>) {
        let present = self.tied.take().and_then(|tied| tied.layer);
        self.tied = Some(TiedHead {
            name: name.into(),
            layer: present.or(layer),
        });
    }

    fn fold(&mut self, layer: Folded, merge: bool) -> Result<Option<Folded>, NotFinite> {
        let nothing = if merge {
            self.parts().is_empty()
        } else {
            self.merged.is_none()
        };
        if nothing {
            return Ok(None);
        }
        let Ok(weight) = layer.weight.downcast::<Tensor<D>>() else {
            return Ok(None);
        };
        let (adapters, weight, bias) = if merge {
            self.clone().merge(*weight, layer.bias)?
        } else {
            self.clone().unmerge(*weight, layer.bias)
        };
        *self = adapters;
        Ok(Some(Folded {
            weight: Box::new(weight),
            bias,
        }))
    }

    fn shared(&self, name: &str) -> Shared {
        Shared::new(self.get(name).into_iter().flat_map(A::shared))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
