//! TREC-6: MiniLM with LoRA on the query and value projections and a new head, one epoch.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use finetune::config::AdapterKind;
use finetune::data::{Task as DataSet, TextBatch};
use finetune::model::TextModel;

use super::minilm::{classifier, logits};
use crate::data::{Split, TextRows, TextSizes, texts};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::task::Task;

/// Tokens of a text.
const LENGTH: usize = 24;

/// TREC-6: MiniLM with LoRA on the query and value projections and a new head, one epoch.
#[derive(Debug)]
pub struct TrecLora;

impl Task for TrecLora {
    type Rows = TextRows;
    type Model = TextModel;

    const DEFINITION: Definition = Definition {
        name: "trec-lora",
        title: "TREC-6, MiniLM + LoRA, one epoch",
        half: Half::Explore,
        version: 1,
        trained: Trained::Lora,
        batch: 32,
        steps: 152,
        measured_rows: 500,
        score: Score::Accuracy,
        folders: &["minilm", "trec"],
        not_hidden: &["classifier"],
    };

    fn rows(folder: &Path) -> Result<Split<TextRows>, Error> {
        let sizes = TextSizes {
            train: None,
            test: 500,
            length: LENGTH,
        };
        texts(DataSet::Trec, folder, "trec", sizes).map_err(Self::refuse)
    }

    fn model(folder: &Path, device: &Device) -> Result<TextModel, Error> {
        classifier(AdapterKind::Lora, folder, LENGTH, 6, device).map_err(Self::refuse)
    }

    fn outputs(model: &TextModel, batch: TextBatch) -> Tensor<2> {
        logits(model, &batch)
    }
}
