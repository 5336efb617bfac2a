//! Movie sentiment: MiniLM with LoRA and a new head, ten epochs over 512 snippets.

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
const LENGTH: usize = 32;

/// Movie sentiment: MiniLM with LoRA and a new head, ten epochs over 512 snippets.
#[derive(Debug)]
pub struct SentimentLora;

impl Task for SentimentLora {
    type Rows = TextRows;
    type Model = TextModel;

    const DEFINITION: Definition = Definition {
        name: "sentiment-lora",
        title: "movie sentiment, MiniLM + LoRA, ten epochs",
        half: Half::Confirm,
        version: 1,
        trained: Trained::Lora,
        batch: 32,
        steps: 160,
        measured_rows: 512,
        score: Score::Accuracy,
        folders: &["minilm", "sentiment"],
        not_hidden: &["classifier"],
    };

    fn rows(folder: &Path) -> Result<Split<TextRows>, Error> {
        let sizes = TextSizes {
            train: Some(512),
            test: 500,
            length: LENGTH,
        };
        texts(DataSet::Sentiment, folder, "sentiment", sizes).map_err(Self::refuse)
    }

    fn model(folder: &Path, device: &Device) -> Result<TextModel, Error> {
        classifier(AdapterKind::Lora, folder, LENGTH, 2, device).map_err(Self::refuse)
    }

    fn outputs(model: &TextModel, batch: TextBatch) -> Tensor<2> {
        logits(model, &batch)
    }
}
