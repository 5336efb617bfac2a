//! A small classification problem for learners.

use std::sync::{Mutex, MutexGuard};

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};

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
