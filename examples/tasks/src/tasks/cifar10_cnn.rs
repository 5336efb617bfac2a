//! CIFAR-10: a convolutional network on a part of the pictures.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use crate::data::{Arrays, Split, cifar10};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::models::{Cnn, CnnConfig};
use crate::task::Task;

/// CIFAR-10: a convolutional network on a part of the pictures.
#[derive(Debug)]
pub struct Cifar10Cnn;

impl Task for Cifar10Cnn {
    type Rows = Arrays;
    type Model = Cnn;

    const DEFINITION: Definition = Definition {
        name: "cifar10-cnn",
        title: "CIFAR-10, CNN",
        half: Half::Explore,
        version: 1,
        trained: Trained::FromScratch,
        batch: 64,
        steps: 780,
        measured_rows: 2000,
        score: Score::Accuracy,
        folders: &["cifar10"],
        not_hidden: &["head"],
    };

    fn rows(folder: &Path) -> Result<Split<Arrays>, Error> {
        cifar10(folder, 10_000, 2000).map_err(Self::refuse)
    }

    fn model(_folder: &Path, device: &Device) -> Result<Cnn, Error> {
        Ok(CnnConfig::new(3, 32, vec![16, 32, 64], 10).init(device))
    }

    fn outputs(model: &Cnn, pixels: Tensor<2>) -> Tensor<2> {
        model.forward(pixels)
    }
}
