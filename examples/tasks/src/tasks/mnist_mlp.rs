//! MNIST: a perceptron.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use finetune::model::Mlp;

use crate::data::{Arrays, Split, mnist};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::task::Task;

/// MNIST: a perceptron.
#[derive(Debug)]
pub struct MnistMlp;

impl Task for MnistMlp {
    type Rows = Arrays;
    type Model = Mlp;

    const DEFINITION: Definition = Definition {
        name: "mnist-mlp",
        title: "MNIST, MLP",
        half: Half::Explore,
        version: 1,
        trained: Trained::FromScratch,
        batch: 64,
        steps: 625,
        measured_rows: 2000,
        score: Score::Accuracy,
        folders: &["mnist10k"],
        not_hidden: &["layers.2"],
    };

    fn rows(folder: &Path) -> Result<Split<Arrays>, Error> {
        mnist(folder).map_err(Self::refuse)
    }

    fn model(_folder: &Path, device: &Device) -> Result<Mlp, Error> {
        Ok(Mlp::new(28 * 28, &[512, 256], 10, device))
    }

    fn outputs(model: &Mlp, pixels: Tensor<2>) -> Tensor<2> {
        let [m, width] = pixels.dims();
        model.forward(pixels.reshape([m, 1, 1, width]))
    }
}
