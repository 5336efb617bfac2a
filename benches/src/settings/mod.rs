//! What is trained.

mod cells;
mod lora;
mod lstm;
mod mlp;
mod tiny;

use std::fmt;

use burn::module::Module;
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData};
use clap::ValueEnum;

use crate::call::Call;

pub use cells::Cells;
pub use lora::Transformer;
pub use lstm::Recurrent;
pub use mlp::Mlp;
pub use tiny::Tiny;

/// A model and its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    /// MLP 3072-2048-2048-10, all of it trained.
    Mlp,
    /// LoRA on the q and v projections of a transformer; everything else is frozen.
    Lora,
    /// MLP 2-64-3, all of it trained: the fixed cost of a step.
    Tiny,
    /// Two LSTM layers of 64 units over sequences of 50 numbers, all of it trained.
    Lstm,
    /// The same sizes with cells that are called step by step, as in Burn's example `modern-lstm`.
    Cells,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mlp => "mlp",
            Self::Lora => "lora",
            Self::Tiny => "tiny",
            Self::Lstm => "lstm",
            Self::Cells => "cells",
        })
    }
}

impl Setting {
    /// The batch size where none is asked for.
    pub fn batch(self) -> usize {
        match self {
            Self::Mlp => 64,
            Self::Lora | Self::Tiny | Self::Lstm | Self::Cells => 32,
        }
    }

    /// The sizes that memory grows with.
    pub fn sizes(self) -> Sizes {
        match self {
            Self::Mlp => mlp::SIZES,
            Self::Lora => lora::SIZES,
            Self::Tiny => tiny::SIZES,
            Self::Lstm => lstm::SIZES,
            Self::Cells => cells::SIZES,
        }
    }
}

/// Numbers of f32 entries in a model.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Parameters.
    pub parameters: usize,
    /// Trainable ones.
    pub trainable: usize,
    /// Entries of the largest trainable parameter.
    pub largest: usize,
    /// What forward keeps for backward, per sample.
    pub activations: usize,
}

/// What computes linear layers, activations, norms and attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operations {
    /// burn-flex-fused.
    Fused,
    /// Burn's own operations.
    Burn,
}

/// A model of this crate.
pub trait Net: Module + Sized {
    /// With random weights on an autodiff device, the frozen ones frozen.
    fn new(device: &Device, operations: Operations) -> Self;

    /// Shape of an input without the batch, `[T, i]`.
    const INPUT: [usize; 2];

    /// Number of classes.
    const CLASSES: usize;

    /// Inputs `[M, T, i]` to logits `[M, CLASSES]`.
    fn logits(&self, x: Tensor<3>, call: &Call) -> Tensor<2>;
}

/// One batch.
#[derive(Clone)]
pub struct Batch {
    /// `[M, T, i]`.
    pub inputs: Tensor<3>,
    /// `[M]`.
    pub labels: Tensor<1, Int>,
}

impl Batch {
    /// Random inputs, labels in turn.
    pub fn new<N: Net>(samples: usize, device: &Device) -> Self {
        let [t, i] = N::INPUT;
        let labels: Vec<i64> = (0..samples).map(|n| (n % N::CLASSES) as i64).collect();
        Self {
            inputs: Tensor::random([samples, t, i], Distribution::Normal(0.0, 1.0), device),
            labels: Tensor::from_data(TensorData::new(labels, [samples]), device),
        }
    }

    /// Sample n alone.
    pub fn sample(&self, n: usize) -> Self {
        Self {
            inputs: self.inputs.clone().narrow(0, n, 1),
            labels: self.labels.clone().narrow(0, n, 1),
        }
    }
}

/// Hold the random state of the Flex device, which all tests share.
#[cfg(test)]
pub(crate) fn random_state() -> std::sync::MutexGuard<'static, ()> {
    use std::sync::{Mutex, PoisonError};

    static RANDOM: Mutex<()> = Mutex::new(());
    RANDOM.lock().unwrap_or_else(PoisonError::into_inner)
}
