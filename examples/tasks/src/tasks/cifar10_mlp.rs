//! CIFAR-10: a perceptron on a part of the pictures.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use finetune::model::Mlp;

use crate::data::{Arrays, Split, cifar10};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::task::Task;

/// CIFAR-10: a perceptron on a part of the pictures.
#[derive(Debug)]
pub struct Cifar10Mlp;

impl Task for Cifar10Mlp {
    type Rows = Arrays;
    type Model = Mlp;

    const DEFINITION: Definition = Definition {
        name: "cifar10-mlp",
        title: "CIFAR-10, MLP",
        half: Half::Confirm,
        version: 1,
        trained: Trained::FromScratch,
        batch: 64,
        steps: 1250,
        measured_rows: 2000,
        score: Score::Accuracy,
        folders: &["cifar10"],
        not_hidden: &["layers.2"],
    };

    fn rows(folder: &Path) -> Result<Split<Arrays>, Error> {
        cifar10(folder, 10_000, 2000).map_err(Self::refuse)
    }

    fn model(_folder: &Path, device: &Device) -> Result<Mlp, Error> {
        Ok(Mlp::new(3 * 32 * 32, &[256, 256], 10, device))
    }

    fn outputs(model: &Mlp, pixels: Tensor<2>) -> Tensor<2> {
        let [m, width] = pixels.dims();
        model.forward(pixels.reshape([m, 1, 1, width]))
    }
}
