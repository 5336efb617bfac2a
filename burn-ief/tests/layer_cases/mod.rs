//! Random layers of `burn_ief::nn`, with the shapes and settings that they can have, and what must hold of
//! each.
//!
//! The test binaries that include this module define `device()`.

mod build;
pub mod checks;
mod convolutions;
mod elementwise;
pub mod layer;

use std::fmt::Debug;
use std::ops::Range;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::device;

pub use checks::{Tolerance, check_drawn, check_empty, check_forward, check_groups, check_rows};
pub use convolutions::{convolutions, deformables, transposed};
pub use elementwise::elementwise;
pub use layer::Layer;

/// A layer and how it is used.
#[derive(Debug, Clone)]
pub struct Case {
    pub layer: layer::Settings,
    pub samples: usize,
    pub frozen: Frozen,
    /// How often the layer is called, each time with other inputs.
    pub uses: usize,
    /// Whether the input has a gradient.
    pub input_grad: bool,
    /// Whether the recording keeps factored rows, as for K-FAC.
    pub factored: bool,
    pub checkpointing: bool,
    pub seed: u64,
}

/// Which parameters do not train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frozen {
    Nothing,
    /// The first parameter of the layer.
    First,
    /// All but the first.
    Rest,
}

/// Cases around a layer's settings.
pub fn cases(layers: impl Strategy<Value = layer::Settings>) -> impl Strategy<Value = Case> {
    let frozen = prop_oneof![
        3 => Just(Frozen::Nothing),
        1 => Just(Frozen::First),
        1 => Just(Frozen::Rest),
    ];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (layers, 1..5usize, frozen, 1..3usize, flags, any::<u64>()).prop_map(
        |(layer, samples, frozen, uses, flags, seed)| Case {
            layer,
            samples,
            frozen,
            uses,
            input_grad: flags.0,
            factored: flags.1,
            checkpointing: flags.2,
            seed,
        },
    )
}

impl Case {
    pub fn device(&self) -> Device {
        let device = device();
        if self.checkpointing {
            device.gradient_checkpointing()
        } else {
            device
        }
    }

    /// The layer with normal entries, so that no parameter is zero or one.
    pub fn layer(&self) -> Layer {
        let layer = self.layer.init(&self.device());
        let layer = layer.map(&mut Fill {
            generator: ChaCha8Rng::seed_from_u64(self.seed),
            frozen: self.frozen,
            count: 0,
        });
        self.layer.settle(layer)
    }

    /// `[M, entries of the input]` for every use.
    pub fn inputs(&self) -> Vec<Tensor<2>> {
        let inputs = (0..self.uses).map(|index| {
            let dims = [self.samples, self.layer.inputs()];
            let x = noise(dims, self.seed ^ (index as u64 + 1), &self.device());
            if self.input_grad { x.require_grad() } else { x }
        });
        inputs.collect()
    }

    /// Outputs `[M, …]` of all uses, side by side. The second call sees other inputs than the first.
    pub fn forward(&self, layer: &Layer, inputs: &[Tensor<2>]) -> Tensor<2> {
        let outputs = inputs
            .iter()
            .map(|x| self.layer.forward(layer, x.clone(), true));
        Tensor::cat(outputs.collect(), 1)
    }

    /// The same by Burn's own forward passes.
    pub fn plain(&self, layer: &Layer, inputs: &[Tensor<2>]) -> Tensor<2> {
        let outputs = inputs
            .iter()
            .map(|x| self.layer.forward(layer, x.clone(), false));
        Tensor::cat(outputs.collect(), 1)
    }
}

struct Fill {
    generator: ChaCha8Rng,
    frozen: Frozen,
    count: usize,
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let frozen = match self.frozen {
            Frozen::Nothing => false,
            Frozen::First => self.count == 0,
            Frozen::Rest => self.count > 0,
        };
        self.count += 1;
        param.map(|value| {
            let dims = value.dims();
            let entries = (0..dims.iter().product()).map(|_| normal(&mut self.generator));
            let data = TensorData::new(entries.collect::<Vec<f64>>(), dims);
            Tensor::from_data(data, &value.device()).set_require_grad(!frozen)
        })
    }
}

fn normal(generator: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(generator)
}

/// Normal entries that depend on `seed` alone.
pub fn noise<const D: usize>(dims: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let values = (0..dims.iter().product()).map(|_| normal(&mut generator));
    Tensor::from_data(TensorData::new(values.collect::<Vec<f64>>(), dims), device)
}

/// The summed loss of some samples: a weighted sum of tanh, other weights for every sample and entry.
pub fn score(y: Tensor<2>, samples: Range<usize>, all: usize, seed: u64) -> Tensor<1> {
    let [_, width] = y.dims();
    let weights = noise([all, width], seed ^ 77, &y.device()).slice([samples]);
    (y.tanh() * weights).sum()
}

pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    let data = x.into_data().convert::<f64>();
    data.try_into_vec().expect("converted to f64")
}

/// ‖a − b‖ / ‖b‖, or ‖a‖ if b is zero.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut b.iter().copied());
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    if size > 0.0 {
        difference / size
    } else {
        difference
    }
}
