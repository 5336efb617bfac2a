//! UCI digits: a vision transformer from scratch.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use crate::data::{Arrays, Split, TargetValues};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::models::{PictureTransformer, PictureTransformerConfig};
use crate::task::Task;

/// UCI digits: a vision transformer from scratch.
#[derive(Debug)]
pub struct DigitsVit;

impl Task for DigitsVit {
    type Rows = Arrays;
    type Model = PictureTransformer;

    const DEFINITION: Definition = Definition {
        name: "digits-vit",
        title: "digits, ViT from scratch",
        half: Half::Explore,
        version: 1,
        trained: Trained::FromScratch,
        batch: 32,
        steps: 444,
        measured_rows: 1000,
        score: Score::Accuracy,
        folders: &[],
        not_hidden: &["class_token", "position", "encoder.head"],
    };

    fn rows(_folder: &Path) -> Result<Split<Arrays>, Error> {
        digits().map_err(Self::refuse)
    }

    fn model(_folder: &Path, device: &Device) -> Result<PictureTransformer, Error> {
        Ok(PictureTransformerConfig::new(quickstart::data::SIDE, 2, 10).init(device))
    }

    fn outputs(model: &PictureTransformer, pixels: Tensor<2>) -> Tensor<2> {
        model.forward(pixels)
    }
}

/// 1,198 and 599 digits of 8 × 8 pixels between −1 and 1.
pub(super) fn digits() -> Result<Split<Arrays>, quickstart::Error> {
    let split = quickstart::data::Split::load()?;
    let arrays = |digits: &[quickstart::data::Digit]| {
        let pixels = digits.iter().flat_map(|digit| digit.pixels);
        let inputs = pixels.map(|pixel| f32::from(pixel) / 8.0 - 1.0).collect();
        let classes = digits.iter().map(|digit| digit.label.into()).collect();
        Arrays::new(inputs, TargetValues::Classes(classes))
    };
    Ok(Split {
        train: arrays(&split.train),
        test: arrays(&split.test),
    })
}
