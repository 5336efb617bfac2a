//! MNIST: a convolutional network.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use crate::data::{Arrays, Split, mnist};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::models::{Cnn, CnnConfig};
use crate::task::Task;

/// MNIST: a convolutional network.
#[derive(Debug)]
pub struct MnistCnn;

impl Task for MnistCnn {
    type Rows = Arrays;
    type Model = Cnn;

    const DEFINITION: Definition = Definition {
        name: "mnist-cnn",
        title: "MNIST, CNN",
        half: Half::Confirm,
        version: 1,
        trained: Trained::FromScratch,
        batch: 64,
        steps: 500,
        measured_rows: 2000,
        score: Score::Accuracy,
        folders: &["mnist10k"],
        not_hidden: &["head"],
    };

    fn rows(folder: &Path) -> Result<Split<Arrays>, Error> {
        mnist(folder).map_err(Self::refuse)
    }

    fn model(_folder: &Path, device: &Device) -> Result<Cnn, Error> {
        Ok(CnnConfig::new(1, 28, vec![16, 32], 10).init(device))
    }

    fn outputs(model: &Cnn, pixels: Tensor<2>) -> Tensor<2> {
        model.forward(pixels)
    }
}
