//! UCI digits: quickstart's vision transformer, pretrained on the digits 0 to 4, with LoRA and a new head.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use quickstart::experiment::{CLASSES, lora};
use quickstart::vit::Vit;

use super::digits_vit::digits;
use crate::data::{Arrays, Split};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::task::Task;

/// UCI digits: quickstart's vision transformer with LoRA and a new head.
#[derive(Debug)]
pub struct DigitsLora;

impl Task for DigitsLora {
    type Rows = Arrays;
    type Model = Vit;

    const DEFINITION: Definition = Definition {
        name: "digits-lora",
        title: "digits, ViT + LoRA",
        half: Half::Confirm,
        version: 1,
        trained: Trained::Lora,
        batch: 32,
        steps: 304,
        measured_rows: 1000,
        score: Score::Accuracy,
        folders: &[],
        not_hidden: &["head"],
    };

    fn rows(_folder: &Path) -> Result<Split<Arrays>, Error> {
        digits().map_err(Self::refuse)
    }

    fn model(_folder: &Path, device: &Device) -> Result<Vit, Error> {
        let vit = Vit::pretrained(device).map_err(Self::refuse)?;
        Ok(vit.fine_tune(&lora(), CLASSES, device))
    }

    fn outputs(model: &Vit, pixels: Tensor<2>) -> Tensor<2> {
        let [m, _] = pixels.dims();
        let side = quickstart::data::SIDE;
        model.forward(pixels.reshape([m, side, side]))
    }
}
