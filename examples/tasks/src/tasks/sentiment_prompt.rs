//! Movie sentiment: MiniLM with ten virtual tokens and a new head, two epochs over 1,280 snippets.

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

/// Movie sentiment: MiniLM with ten virtual tokens and a new head, two epochs over 1,280 snippets.
#[derive(Debug)]
pub struct SentimentPrompt;

impl Task for SentimentPrompt {
    type Rows = TextRows;
    type Model = TextModel;

    const DEFINITION: Definition = Definition {
        name: "sentiment-prompt",
        title: "movie sentiment, MiniLM + prompt",
        half: Half::Explore,
        version: 1,
        trained: Trained::Prompt,
        batch: 16,
        steps: 160,
        measured_rows: 400,
        score: Score::Accuracy,
        folders: &["minilm", "sentiment"],
        not_hidden: &["prompt", "classifier"],
    };

    fn rows(folder: &Path) -> Result<Split<TextRows>, Error> {
        let sizes = TextSizes {
            train: Some(1280),
            test: 400,
            length: LENGTH,
        };
        texts(DataSet::Sentiment, folder, "sentiment", sizes).map_err(Self::refuse)
    }

    fn model(folder: &Path, device: &Device) -> Result<TextModel, Error> {
        classifier(AdapterKind::Prompt, folder, LENGTH, 2, device).map_err(Self::refuse)
    }

    fn outputs(model: &TextModel, batch: TextBatch) -> Tensor<2> {
        logits(model, &batch)
    }
}
