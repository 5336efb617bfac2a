//! What is trained.

mod cells;
mod classifier;
mod lora;
mod lstm;
mod mlp;
mod ported;
mod tiny;

use std::fmt;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use clap::ValueEnum;
use ports::Port;

use crate::call::Call;
use crate::operations::Operations;

pub use cells::Cells;
pub use classifier::{Classified, Classifier, Sequences};
pub use lora::Transformer;
pub use lstm::Recurrent;
pub use mlp::Mlp;
pub use ported::Ported;
pub use tiny::Tiny;

/// A model and its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// MLP 3072-2048-2048-10, all of it trained.
    Mlp,
    /// LoRA on the q and v projections of a transformer; everything else is frozen.
    Lora,
    /// MLP 2-64-3, all of it trained: the fixed cost of a step.
    Tiny,
    /// Two LSTM layers of 64 units over sequences of 50 numbers, all of it trained.
    Lstm,
    /// The same sizes with cells that are called step by step.
    Cells,
    /// Burn's example `guide`.
    Guide,
    /// Burn's example `mnist`: BatchNorm with Burn's optimizers, GroupNorm with the others.
    Mnist,
    /// Burn's example `simple-regression`.
    SimpleRegression,
    /// Burn's example `text-classification`.
    TextClassification,
    /// Burn's example `text-generation`.
    TextGeneration,
    /// Burn's example `custom-training-loop`.
    CustomTrainingLoop,
    /// Burn's example `modern-lstm`.
    ModernLstm,
    /// The discriminator of Burn's example `wgan`.
    Wgan,
    /// Burn's example `custom-image-dataset`.
    CustomImageDataset,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mlp => "mlp",
            Self::Lora => "lora",
            Self::Tiny => "tiny",
            Self::Lstm => "lstm",
            Self::Cells => "cells",
            Self::Guide => ports::Guide::NAME,
            Self::Mnist => ports::Mnist::NAME,
            Self::SimpleRegression => ports::SimpleRegression::NAME,
            Self::TextClassification => ports::TextClassification::NAME,
            Self::TextGeneration => ports::TextGeneration::NAME,
            Self::CustomTrainingLoop => ports::CustomTrainingLoop::NAME,
            Self::ModernLstm => ports::ModernLstm::NAME,
            Self::Wgan => ports::Wgan::NAME,
            Self::CustomImageDataset => ports::CustomImageDataset::NAME,
        })
    }
}

impl Setting {
    /// The batch size where none is asked for.
    pub fn batch(self) -> usize {
        match self {
            Self::Mlp => 64,
            Self::Lora | Self::Tiny | Self::Lstm | Self::Cells => 32,
            Self::Guide => ports::Guide::BATCH,
            Self::Mnist => ports::Mnist::BATCH,
            Self::SimpleRegression => ports::SimpleRegression::BATCH,
            Self::TextClassification => ports::TextClassification::BATCH,
            Self::TextGeneration => ports::TextGeneration::BATCH,
            Self::CustomTrainingLoop => ports::CustomTrainingLoop::BATCH,
            Self::ModernLstm => ports::ModernLstm::BATCH,
            Self::Wgan => ports::Wgan::BATCH,
            Self::CustomImageDataset => ports::CustomImageDataset::BATCH,
        }
    }

    /// Whether it is one of Burn's examples.
    pub fn is_port(self) -> bool {
        !matches!(
            self,
            Self::Mlp | Self::Lora | Self::Tiny | Self::Lstm | Self::Cells
        )
    }

    /// The sizes that memory grows with.
    pub fn sizes(self) -> Sizes {
        match self {
            Self::Mlp => mlp::SIZES,
            Self::Lora => lora::SIZES,
            Self::Tiny => tiny::SIZES,
            Self::Lstm => lstm::SIZES,
            Self::Cells => cells::SIZES,
            Self::Guide => ported::GUIDE,
            Self::Mnist => ported::MNIST,
            Self::SimpleRegression => ported::SIMPLE_REGRESSION,
            Self::TextClassification => ported::TEXT_CLASSIFICATION,
            Self::TextGeneration => ported::TEXT_GENERATION,
            Self::CustomTrainingLoop => ported::CUSTOM_TRAINING_LOOP,
            Self::ModernLstm => ported::MODERN_LSTM,
            Self::Wgan => ported::WGAN,
            Self::CustomImageDataset => ported::CUSTOM_IMAGE_DATASET,
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

/// A model with data of any kind and its loss.
pub trait Net {
    /// What is trained.
    type Model: Module;
    /// What it is trained on.
    type Batch: Clone;

    /// Number of classes, for methods that have to know it.
    const CLASSES: usize;

    /// With random weights on an autodiff device, the frozen ones frozen.
    fn model(form: ports::Form, operations: Operations, device: &Device) -> Self::Model;

    /// Random inputs.
    fn batch(samples: usize, device: &Device) -> Self::Batch;

    /// Number of samples.
    fn samples(batch: &Self::Batch) -> usize;

    /// Sample n alone.
    fn sample(batch: &Self::Batch, n: usize) -> Self::Batch;

    /// The mean loss, with the output marked.
    fn loss(model: &Self::Model, batch: Self::Batch, call: &Call) -> Tensor<1>;
}

/// Hold the random state of the Flex device, which all tests share.
#[cfg(test)]
pub(crate) fn random_state() -> std::sync::MutexGuard<'static, ()> {
    use std::sync::{Mutex, PoisonError};

    static RANDOM: Mutex<()> = Mutex::new(());
    RANDOM.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_on_the_command_line_and_in_rows() {
        for &setting in Setting::value_variants() {
            let name = setting.to_string();
            assert_eq!(Setting::from_str(&name, false), Ok(setting));
            assert_eq!(serde_json::to_value(setting).unwrap(), name);
        }
    }
}
