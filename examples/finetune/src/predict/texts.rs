//! What encoders with a head say about texts.

use std::path::PathBuf;

use burn::data::dataloader::batcher::Batcher;
use burn::nn::LinearConfig;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};
use burn_hf_models::bert::{BertConfig, BertInput, BertModel};
use burn_hf_models::class::Task;
use burn_hf_models::classify::{TextClassifier, TokenClassifier};
use burn_hf_models::open::{OpenOptions, Opened, WithOpened, open};
use burn_peft::{AdapterFolder, Peft, SoftPrompt};

use super::columns::{Item, Row};
use super::options::PredictOptions;
use super::prediction::{Predict, Prediction, diverged, failed_at, largest, probabilities};
use crate::class_labels::class_of;
use crate::data::{TextBatch, TextBatcher, TextExample, load_tokenizer};
use crate::error::Error;
use crate::model::{EncoderSizes, HEAD, load_head, mean, prompt_of};
use crate::problem::Problem;
use crate::target::Target;

/// The name of the adapter in the model.
const NAME: &str = "default";

/// From a batch to logits `[M, P, C]`: P is 1, or the number of tokens.
type Logits = Box<dyn Fn(TextBatch) -> Result<Tensor<3>, burn_hf_models::Error> + Send>;

/// An encoder with a head.
pub(super) struct Texts {
    batcher: TextBatcher,
    logits: Logits,
    problem: Problem,
    outputs: usize,
    device: Device,
    /// What is read, for messages.
    path: PathBuf,
    /// What was trained, for messages.
    model: PathBuf,
}

impl Texts {
    pub fn open(
        target: &Target,
        (problem, labels): (Problem, &[String]),
        options: &PredictOptions,
        device: &Device,
    ) -> Result<Self, Error> {
        let base = target.base.as_path();
        let is_number = problem == Problem::Regression;
        let fits = if is_number {
            labels.len() == 1
        } else {
            labels.len() >= 2
        };
        if !fits && problem != Problem::MultiLabel {
            let expected = if is_number {
                "one output: a head with several gives no single number"
            } else {
                "two or more classes: a head with one output gives a number"
            };
            return Err(Error::config("labels", labels.len(), expected));
        }
        let adapter = target.adapter.as_deref().map(AdapterFolder::read);
        let adapter = adapter.transpose()?;
        let prompt = prompt_of(adapter.as_ref(), device)?;
        let sizes = EncoderSizes::of(base)?;
        let virtual_tokens = prompt.as_ref().map_or(0, |prompt| {
            let [rows, _] = prompt.embeddings.lazy_shape().dims();
            rows
        });
        let inputs = Inputs {
            prompt,
            segments: sizes.segments.is_some(),
        };
        let logits: Logits = if target.folder().join(HEAD).is_file() {
            let encoder = Encoder::open(target, adapter.as_ref(), labels.len(), device)?;
            Box::new(move |batch| encoder.logits(batch, &inputs))
        } else {
            let class = class_of(base, adapter.as_ref())?;
            let wanted = match problem {
                Problem::Tokens => Task::TokenClassification,
                _ => Task::SequenceClassification,
            };
            if class.task() != wanted {
                let found = class.task();
                return Err(Error::config(
                    "the task of the model",
                    found,
                    wanted.to_string(),
                ));
            }
            let mut open_options = OpenOptions::default().with_labels(labels.len());
            if let Some(folder) = &adapter {
                open_options = open_options.with_new_parts(folder.config.modules_to_save());
            }
            let headed = HeadedClass {
                adapter: adapter.as_ref(),
                inputs,
            };
            open(base, class, &open_options, device, headed)?
        };
        let tokenizer = load_tokenizer(base, sizes.vocabulary)?;
        let run = target.run.as_ref().map(|run| run.max_length());
        let room = sizes.longest.saturating_sub(virtual_tokens);
        let length = options.max_length.or(run).unwrap_or(128.min(room));
        if length > room {
            let expected = format!("at most {room}, the positions of the model");
            return Err(Error::config("max_length", length, expected));
        }
        let batcher = match problem {
            Problem::Tokens => TextBatcher::for_words(tokenizer, length)?,
            _ => TextBatcher::new(tokenizer, length)?,
        };
        Ok(Self {
            batcher,
            logits,
            problem,
            outputs: labels.len(),
            device: device.clone(),
            path: options.path.clone(),
            model: target.folder().into(),
        })
    }

    /// A tag for each word, by its first token.
    fn tags(&self, rows: &[Row]) -> Result<Vec<Prediction>, Error> {
        let words = |row: &Row| match &row.item {
            Item::Words(words) => words.clone(),
            // Rows of words have no other items.
            _ => Vec::new(),
        };
        let words: Vec<Vec<String>> = rows.iter().map(words).collect();
        let parts: Vec<&[String]> = words.iter().map(Vec::as_slice).collect();
        let split = self.batcher.split_words(&parts);
        let split = split.map_err(|error| failed_at(rows, &self.path, error))?;
        let rows_of = split.into_iter().map(|row| (row.item, row.firsts));
        let (items, firsts): (Vec<_>, Vec<_>) = rows_of.unzip();
        let logits = (self.logits)(self.batcher.batch(items, &self.device))?;
        let [_, length, classes] = logits.dims();
        let values = logits.into_data().convert::<f32>();
        let values = values.try_into_vec::<f32>().unwrap_or_default();
        let mut predictions = Vec::new();
        for (((row, words), firsts), values) in rows
            .iter()
            .zip(words)
            .zip(firsts)
            .zip(values.chunks(length * classes))
        {
            let of_word = |place: Option<usize>| match place {
                None => Ok(None),
                Some(place) => {
                    let own = &values[place * classes..(place + 1) * classes];
                    if own.iter().any(|value| value.is_nan()) {
                        return Err(diverged(row, &self.model));
                    }
                    Ok(Some(largest(own)))
                }
            };
            let tags = firsts.into_iter().map(of_word);
            let tags = tags.collect::<Result<_, Error>>()?;
            predictions.push(Prediction::Tags { words, tags });
        }
        Ok(predictions)
    }
}

impl Predict for Texts {
    fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, Error> {
        if self.problem == Problem::Tokens {
            return self.tags(rows);
        }
        let examples = examples(rows);
        let encoded = self.batcher.encode(&examples);
        let encoded = encoded.map_err(|error| failed_at(rows, &self.path, error))?;
        let batch = self.batcher.batch(encoded.items, &self.device);
        let logits = (self.logits)(batch)?.squeeze_dim::<2>(1);
        let rows_of = |values: Tensor<2>| {
            let values = values.into_data().convert::<f32>();
            let values = values.try_into_vec::<f32>().unwrap_or_default();
            let rows = values.chunks(self.outputs.max(1)).map(<[f32]>::to_vec);
            rows.collect::<Vec<_>>()
        };
        Ok(match self.problem {
            Problem::Regression => {
                let numbers = rows_of(logits).into_iter().flatten();
                numbers.map(Prediction::Number).collect()
            }
            Problem::MultiLabel => {
                let rows = rows_of(sigmoid(logits)).into_iter();
                rows.map(Prediction::Labels).collect()
            }
            _ => probabilities(logits, self.outputs)?,
        })
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
struct HeadedClass<'a> {
    adapter: Option<&'a AdapterFolder>,
    inputs: Inputs,
}

impl WithOpened for HeadedClass<'_> {
    type Output = Logits;
    type Error = Error;

    fn apply<M: burn::module::Module>(self, _: Opened<M>) -> Result<Logits, Error> {
        let expected = "a class with a head for texts or their words";
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
        Ok(Box::new(move |batch| {
            Ok(model.logits(inputs.of(batch))?.unsqueeze_dim(1))
        }))
    }

    fn apply_to_tokens<M: TokenClassifier>(self, opened: Opened<M>) -> Result<Logits, Error> {
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
    ) -> Result<Tensor<3>, burn_hf_models::Error> {
        let (mask, [_, length]) = (batch.mask.clone(), batch.ids.dims());
        let output = self.bert.forward(inputs.of(batch))?;
        let vector = mean(output.last_hidden_state, mask, length);
        Ok(self.head.forward(vector).unsqueeze_dim(1))
    }
}
