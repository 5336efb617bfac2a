//! The adapters of a weight as a module: devices, modes, and walks over their parameters.

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

use super::{ADAPTER, Adapters, Entry, MERGED_ADAPTER};
use crate::adapters::edit;
use crate::adapters::layer_adapter::LayerAdapter;

impl<A: LayerAdapter<D>, const D: usize> Adapters<A, D> {
    /// What a walk over the module sees around the parameters of each adapter.
    fn container(&self) -> String {
        let container = if self.merged.is_some() {
            MERGED_ADAPTER
        } else {
            ADAPTER
        };
        format!("{container}:{}", A::PEFT_TYPE)
    }

    /// Everything that is carried through these functions.
    fn each(
        self,
        of_adapter: impl Fn(A) -> A,
        of_copy: impl Fn(Param<Tensor<D>>) -> Param<Tensor<D>>,
        of_head: impl FnOnce(Linear) -> Linear,
    ) -> Self {
        let entries = self.entries.into_iter();
        Self {
            entries: entries
                .map(|entry| Entry {
                    adapter: of_adapter(entry.adapter),
                    ..entry
                })
                .collect(),
            copies: self.copies.each(of_copy),
            tied: self.tied.map(|tied| tied.each(of_head)),
            ..self
        }
    }
}

// Not derived, so that the path of a parameter holds the adapter's name, so that a walk sees the
// method and whether adapters are merged, and so that `map` runs an edit of a whole model.
impl<A: LayerAdapter<D>, const D: usize> Module for Adapters<A, D> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        let entries = self.entries.iter();
        let devices = entries.fold(devices, |devices, entry| {
            entry.adapter.collect_devices(devices)
        });
        let mut stored = self.copies.stored();
        let devices = stored.by_ref().fold(devices, |devices, param| {
            Module::collect_devices(param, devices)
        });
        match self.head() {
            Some(layer) => layer.collect_devices(devices),
            None => devices,
        }
    }

    fn fork(self, device: &Device) -> Self {
        let merged = self.merged.as_ref().map(|merged| merged.moved(device));
        let forked = self.each(
            |adapter| adapter.fork(device),
            |param| param.fork(device),
            |layer| layer.fork(device),
        );
        Self { merged, ..forked }
    }

    fn to_device(self, device: &Device) -> Self {
        let merged = self.merged.as_ref().map(|merged| merged.moved(device));
        let moved = self.each(
            |adapter| adapter.to_device(device),
            |param| Module::to_device(param, device),
            |layer| layer.to_device(device),
        );
        Self { merged, ..moved }
    }

    fn train(self) -> Self {
        self.each(Module::train, Module::train, Module::train)
    }

    fn valid(&self) -> Self {
        self.clone().each(
            |adapter| adapter.valid(),
            |param| param.valid(),
            |layer| layer.valid(),
        )
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        let container = self.container();
        for entry in &self.entries {
            visitor.enter_module(&entry.name, &container);
            entry.adapter.visit(visitor);
            visitor.exit_module(&entry.name, &container);
        }
        self.copies.visit(visitor);
        if let Some(tied) = &self.tied {
            tied.visit(visitor);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let mut adapters = self;
        edit::apply(&mut adapters);
        let container = adapters.container();
        adapters.entries = adapters
            .entries
            .into_iter()
            .map(|entry| {
                mapper.enter_module(&entry.name, &container);
                let adapter = entry.adapter.map(mapper);
                mapper.exit_module(&entry.name, &container);
                Entry { adapter, ..entry }
            })
            .collect();
        adapters.copies = adapters.copies.map(mapper);
        adapters.tied = adapters.tied.map(|tied| tied.map(mapper));
        adapters
    }
}
