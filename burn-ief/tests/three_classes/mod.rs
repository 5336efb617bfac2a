//! A small classification problem, and a network for it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use burn::data::dataloader::batcher::Batcher;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Dropout, DropoutConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use burn_ief::prelude::*;
use burn_ief::train::train_output;

/// Four features and a class.
pub type Item = ([f32; 4], i64);

/// Flex has one random state per process: tests that draw from it take turns.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[derive(Clone, Debug)]
pub struct Batch {
    pub x: Tensor<2>,
    pub y: Tensor<1, Int>,
}

#[derive(Clone)]
pub struct Batches;

impl Batcher<Item, Batch> for Batches {
    fn batch(&self, items: Vec<Item>, device: &Device) -> Batch {
        let n = items.len();
        let x: Vec<f32> = items.iter().flat_map(|(x, _)| *x).collect();
        let y: Vec<i64> = items.iter().map(|(_, y)| *y).collect();
        Batch {
            x: Tensor::from_data(TensorData::new(x, [n, 4]), device),
            y: Tensor::from_data(TensorData::new(y, [n]), device),
        }
    }
}

/// Three linearly separable classes.
pub fn items(count: usize) -> Vec<Item> {
    let value = |i: usize, k: usize| ((i * 37 + k * 101 + i * i * 7) % 199) as f32 / 99.5 - 1.0;
    let items = (0..count).map(|i| {
        let x = [value(i, 1), value(i, 2), value(i, 3), value(i, 5)];
        let scores = [x[0] - x[3], x[1] + 0.2, x[2] * 0.8];
        let best = (0..3)
            .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
            .unwrap();
        (x, best as i64)
    });
    items.collect()
}

/// What the network has between its two layers.
#[derive(Clone, Copy)]
pub struct Shape {
    pub width: usize,
    pub norm: bool,
    pub dropout: f64,
}

#[derive(Module, Debug)]
pub struct Net {
    pub first: Linear,
    pub norm: Option<LayerNorm>,
    dropout: Dropout,
    pub last: Linear,
}

impl Net {
    pub fn new(shape: Shape, device: &Device) -> Self {
        let width = shape.width;
        Self {
            first: LinearConfig::new(4, width).init(device),
            norm: shape.norm.then(|| LayerNormConfig::new(width).init(device)),
            dropout: DropoutConfig::new(shape.dropout).init(),
            last: LinearConfig::new(width, 3).init(device),
        }
    }

    pub fn forward(&self, batch: Batch) -> ClassificationOutput {
        let x = relu(self.first.forward_recorded(batch.x));
        let x = match &self.norm {
            Some(norm) => norm.forward_recorded(x),
            None => x,
        };
        let x = self.dropout.forward_recorded(x);
        let logits = mark_output(self.last.forward_recorded(x));
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = mark_loss(cross_entropy.forward(logits.clone(), batch.y.clone()));
        ClassificationOutput::new(loss, logits, batch.y)
    }
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.forward(batch);
        let grads = output.loss.backward();
        train_output(self, grads, output)
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.forward(batch)
    }
}

/// Weights of both layers.
pub fn weights(net: &Net) -> Vec<f64> {
    let parts = [&net.first, &net.last].map(|layer| layer.weight.val().into_data());
    let parts = parts.map(|data| data.convert::<f64>().try_to_vec::<f64>().unwrap());
    parts.concat()
}

/// A new folder for the files of a run.
pub fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("burn-ief-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}
