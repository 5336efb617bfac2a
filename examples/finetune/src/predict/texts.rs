//! Classes of texts.

use std::path::PathBuf;

use burn::data::dataloader::batcher::Batcher;
use burn::nn::LinearConfig;
use burn::tensor::{Device, Tensor};
use burn_hf_models::bert::{BertConfig, BertInput, BertModel};
use burn_hf_models::class::Task;
use burn_hf_models::classify::TextClassifier;
use burn_hf_models::open::{OpenOptions, Opened, WithOpened, open};
use burn_hf_models::weights::read_config;
use burn_peft::{AdapterFolder, Peft, SoftPrompt};
use serde::Deserialize;

use super::columns::{Item, Row};
use super::{Predict, PredictOptions, Prediction, failed_at, probabilities};
use crate::class_labels::class_of;
use crate::data::{TextBatch, TextBatcher, TextExample, load_tokenizer};
use crate::error::Error;
use crate::model::{HEAD, load_head, mean, prompt_of};
use crate::target::Target;

/// The name of the adapter in the model.
const NAME: &str = "default";

/// From a batch to logits `[M, C]`.
type Logits = Box<dyn Fn(TextBatch) -> Result<Tensor<2>, burn_hf_models::Error> + Send>;

/// A classifier of texts.
pub(super) struct Texts {
    batcher: TextBatcher,
    logits: Logits,
    classes: usize,
    device: Device,
    path: PathBuf,
}

/// What the configuration says about the kind of problem.
#[derive(Deserialize)]
struct Stated {
    model_type: String,
    vocab_size: usize,
    problem_type: Option<String>,
}

impl Texts {
    pub fn open(
        target: &Target,
        labels: &[String],
        options: &PredictOptions,
        device: &Device,
    ) -> Result<Self, Error> {
        let base = target.base.as_path();
        let stated: Stated = read_config(base)?;
        // A run's labels are classes, whatever its base was trained for.
        let problem = stated.problem_type.filter(|_| target.labels.is_empty());
        if let Some(other) = problem.filter(|it| it != "single_label_classification") {
            let field = format!("{}: problem_type", base.join("config.json").display());
            let expected = "single_label_classification: each text has one class";
            return Err(Error::config(field, other, expected));
        }
        if labels.len() < 2 {
            let expected = "two or more classes: a head with one output gives a number";
            return Err(Error::config("labels", labels.len(), expected));
        }
        let adapter = target.adapter.as_deref().map(AdapterFolder::read);
        let adapter = adapter.transpose()?;
        let prompt = prompt_of(adapter.as_ref(), device)?;
        let sizes = match stated.model_type.as_str() {
            "bert" | "roberta" | "distilbert" => Some(BertConfig::from_folder(base)?),
            _ => None,
        };
        let segments =
            stated.model_type == "bert" && sizes.as_ref().is_some_and(|it| it.type_vocab_size > 1);
        let virtual_tokens = prompt.as_ref().map_or(0, |prompt| {
            let [rows, _] = prompt.embeddings.lazy_shape().dims();
            rows
        });
        let longest = sizes.map_or(usize::MAX, |it| it.longest_sequence());
        let inputs = Inputs { prompt, segments };
        let logits: Logits = if target.folder().join(HEAD).is_file() {
            let encoder = Encoder::open(target, adapter.as_ref(), labels.len(), device)?;
            Box::new(move |batch| encoder.logits(batch, &inputs))
        } else {
            let class = class_of(base, adapter.as_ref())?;
            if class.task() != Task::SequenceClassification {
                let found = class.task();
                let expected = "sequence classification";
                return Err(Error::config("the task of the model", found, expected));
            }
            let mut open_options = OpenOptions::default().with_labels(labels.len());
            if let Some(folder) = &adapter {
                open_options = open_options.with_new_parts(folder.config.modules_to_save());
            }
            let classifier = Classifier {
                adapter: adapter.as_ref(),
                inputs,
            };
            open(base, class, &open_options, device, classifier)?
        };
        let tokenizer = load_tokenizer(base, stated.vocab_size)?;
        let run = target.run.as_ref().map(|run| run.max_length());
        let room = longest.saturating_sub(virtual_tokens);
        let length = options.max_length.or(run).unwrap_or(128.min(room));
        if length > room {
            let expected = format!("at most {room}, the positions of the model");
            return Err(Error::config("max_length", length, expected));
        }
        Ok(Self {
            batcher: TextBatcher::new(tokenizer, length)?,
            logits,
            classes: labels.len(),
            device: device.clone(),
            path: options.path.clone(),
        })
    }
}

impl Predict for Texts {
    fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, Error> {
        let examples = examples(rows);
        let encoded = self.batcher.encode(&examples);
        let encoded = encoded.map_err(|error| failed_at(rows, &self.path, error))?;
        let batch = self.batcher.batch(encoded.items, &self.device);
        probabilities((self.logits)(batch)?, self.classes)
    }
}

/// The texts of rows; their labels play no part.
pub(super) fn examples(rows: &[Row]) -> Vec<TextExample> {
    let example = |row: &Row| match &row.item {
        Item::Text { first, second } => {
            let example = TextExample::new(first, 0);
            match second {
                Some(second) => example.with_second(second),
                None => example,
            }
        }
        // Rows of texts have no other items.
        _ => TextExample::new("", 0),
    };
    rows.iter().map(example).collect()
}

/// How a batch becomes the input of a model.
struct Inputs {
    prompt: Option<SoftPrompt>,
    /// Whether the model distinguishes the texts of a pair.
    segments: bool,
}

impl Inputs {
    fn of(&self, batch: TextBatch) -> BertInput {
        let [samples, _] = batch.ids.dims();
        let mut input = BertInput::new(batch.ids).with_attention_mask(batch.mask);
        if self.segments {
            input = input.with_token_type_ids(batch.types);
        }
        match &self.prompt {
            Some(prompt) => input.with_prompt(prompt.forward(samples)),
            None => input,
        }
    }
}

/// Opens a class of `transformers` with its adapter.
struct Classifier<'a> {
    adapter: Option<&'a AdapterFolder>,
    inputs: Inputs,
}

impl WithOpened for Classifier<'_> {
    type Output = Logits;
    type Error = Error;

    fn apply<M: burn::module::Module>(self, _: Opened<M>) -> Result<Logits, Error> {
        let expected = "a class that classifies texts";
        Err(Error::config(
            "the class of the model",
            "another one",
            expected,
        ))
    }

    fn apply_to_texts<M: TextClassifier>(self, opened: Opened<M>) -> Result<Logits, Error> {
        let model = match self.adapter {
            Some(folder) => opened.model.load_adapter(NAME, folder, &opened.names)?,
            None => opened.model,
        };
        let inputs = self.inputs;
        Ok(Box::new(move |batch| model.logits(inputs.of(batch))))
    }
}

/// An encoder whose head takes the mean of the tokens.
struct Encoder {
    bert: BertModel,
    head: burn::nn::Linear,
}

impl Encoder {
    fn open(
        target: &Target,
        adapter: Option<&AdapterFolder>,
        classes: usize,
        device: &Device,
    ) -> Result<Self, Error> {
        let width = BertConfig::from_folder(&target.base)?.hidden_size;
        let bert = BertModel::load(&target.base, false, device)?;
        let bert = match adapter {
            Some(folder) => bert.load_adapter(NAME, folder, &BertModel::names())?,
            None => bert,
        };
        let head = LinearConfig::new(width, classes).init(device);
        Ok(Self {
            bert,
            head: load_head(head, target.folder())?,
        })
    }

    fn logits(
        &self,
        batch: TextBatch,
        inputs: &Inputs,
    ) -> Result<Tensor<2>, burn_hf_models::Error> {
        let (mask, [_, length]) = (batch.mask.clone(), batch.ids.dims());
        let output = self.bert.forward(inputs.of(batch))?;
        Ok(self
            .head
            .forward(mean(output.last_hidden_state, mask, length)))
    }
}
