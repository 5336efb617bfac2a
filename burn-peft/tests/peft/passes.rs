//! How often a model is mapped when adapters come to it.

use std::cell::Cell;

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::tensor::Device;
use burn_peft::{AdapterFolder, LoraConfig, Peft};

thread_local! {
    static MAPS: Cell<usize> = const { Cell::new(0) };
}

#[derive(Module, Debug)]
struct Inner {
    table: Embedding,
    conv: Conv2d,
    linear: Linear,
}

/// A module that counts how often it is mapped.
#[derive(Debug, Clone)]
struct Counted(Inner);

impl Module for Counted {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self(self.0.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(device))
    }

    fn train(self) -> Self {
        Self(Module::train(self.0))
    }

    fn valid(&self) -> Self {
        Self(self.0.valid())
    }

    fn materialize(self) -> Self {
        Self(self.0.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.0.visit(visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        MAPS.set(MAPS.get() + 1);
        Self(self.0.map(mapper))
    }
}

fn model() -> Counted {
    let device = Device::flex().autodiff();
    Counted(Inner {
        table: EmbeddingConfig::new(5, 4).init(&device),
        conv: Conv2dConfig::new([1, 2], [2, 2]).init(&device),
        linear: LinearConfig::new(4, 4).init(&device),
    })
}

fn config() -> LoraConfig {
    LoraConfig::new()
        .with_r(2)
        .with_target_modules(["table", "conv", "linear"])
}

/// The maps of the model that `run` makes.
fn maps<T>(run: impl FnOnce() -> T) -> (usize, T) {
    let before = MAPS.get();
    let result = run();
    (MAPS.get() - before, result)
}

#[test]
fn adapting_and_loading_map_a_model_once() {
    let (count, one) = maps(|| model().adapt("one", config(), &[]).unwrap());
    assert_eq!(count, 1);
    let (count, folder): (_, AdapterFolder) =
        maps(|| one.save_adapter("one", config(), &[]).unwrap());
    assert_eq!(count, 0);
    let (count, _) = maps(|| model().load_adapter("one", &folder, &[]).unwrap());
    assert_eq!(count, 1);
    // A second adapter on the same weights.
    let (count, both) = maps(|| one.load_adapter("two", &folder, &[]).unwrap());
    assert_eq!(count, 1);
    assert_eq!(both.adapter_names(), ["one", "two"]);
    // Taking merged adapters out needs two more.
    let merged = both.merge_adapters().unwrap();
    let (count, three) = maps(|| merged.load_adapter("three", &folder, &[]).unwrap());
    assert_eq!(count, 3);
    assert_eq!(three.adapter_names(), ["one", "three", "two"]);
}
