//! Two layers, batches for them, and numbers of updates.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::tanh;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_ief::prelude::*;

pub const INPUTS: usize = 5;
pub const CLASSES: usize = 3;

/// Numbers between -1 and 1 that need no generator: tests share the device's.
pub fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| {
        let x = (i as f64 + 1.3) * 12.9898 + seed as f64 * 78.233;
        (2.0 * (x.sin() * 43_758.547).fract().abs() - 1.0) as f32
    };
    (0..count).map(value).collect()
}

pub fn linear(inputs: usize, outputs: usize, seed: usize, device: &Device) -> Linear {
    let tensor = |dims: Vec<usize>| {
        let values = numbers(dims.iter().product(), seed);
        TensorData::new(values, dims)
    };
    let layer = LinearConfig::new(inputs, outputs).init(device);
    let weight = Tensor::from_data(tensor(vec![inputs, outputs]), device);
    let bias = Tensor::from_data(tensor(vec![outputs]), device);
    Linear {
        weight: layer.weight.map(|_| weight.require_grad()),
        bias: layer.bias.map(|b| b.map(|_| bias.require_grad())),
    }
}

#[derive(Module, Debug)]
pub struct Net {
    pub first: Linear,
    pub last: Linear,
}

pub type Batch = (Tensor<2>, Tensor<1, Int>);

impl Net {
    pub fn new(outputs: usize, device: &Device) -> Self {
        Self {
            first: linear(INPUTS, 4, 1, device),
            last: linear(4, outputs, 2, device),
        }
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = tanh(self.first.forward_recorded(x));
        self.last.forward_recorded(x)
    }

    /// The mean loss of a batch; output and loss are marked.
    pub fn loss(&self, (x, y): Batch) -> Tensor<1> {
        mark_loss(cross_entropy(mark_output(self.forward(x)), y))
    }
}

pub fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let config = CrossEntropyLossConfig::new();
    config.init(&logits.device()).forward(logits, labels)
}

pub fn batch(samples: usize, seed: usize, device: &Device) -> Batch {
    let x = TensorData::new(numbers(samples * INPUTS, seed + 10), [samples, INPUTS]);
    let y: Vec<i64> = (0..samples)
        .map(|n| ((n + seed) % CLASSES) as i64)
        .collect();
    (
        Tensor::from_data(x, device),
        Tensor::from_data(y.as_slice(), device),
    )
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

/// An update, flattened.
pub fn flat(net: &Net, grads: &GradientsParams) -> Vec<f64> {
    let parts = [&net.first, &net.last].map(|layer| {
        let weight = values(grads.get::<2>(layer.weight.id).unwrap());
        let bias = values(grads.get::<1>(layer.bias.as_ref().unwrap().id).unwrap());
        [weight, bias].concat()
    });
    parts.concat()
}

/// All parameters, in the order of [`flat`].
pub fn weights(net: &Net) -> Vec<f64> {
    let parts = [&net.first, &net.last].map(|layer| {
        let bias = layer.bias.as_ref().unwrap();
        [values(layer.weight.val()), values(bias.val())].concat()
    });
    parts.concat()
}

pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// ‖a − b‖ / ‖b‖.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}
