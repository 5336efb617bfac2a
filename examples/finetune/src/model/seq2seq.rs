//! T5, which answers in words.

use std::path::Path;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use burn_flex_fused::cross_entropy;
use burn_hf_models::t5::{T5Config, T5ForConditionalGeneration, T5Input, T5Source};
use burn_hf_models::weights::load;
use burn_peft::settings::TaskType;
use burn_peft::{NameMap, SoftPrompt};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::adapter::{Family, Size, Trained, save_layers};
use super::export::{Class, Destination, load_weights, write_model_folder};
use super::{Answered, FineTune, Judged, Outcome, fits};
use crate::config::{AdapterKind, Config};
use crate::data::Seq2SeqBatch;
use crate::error::Error;

const FAMILY: Family<'_> = Family {
    model_type: "t5",
    targets: &["q", "v"],
    saved: &[],
    task: Some(TaskType::Seq2SeqLm),
};

/// T5 that reads a text in its task's template and answers with the words of a class.
///
/// The loss of a sample is the sum over the tokens of its answer. In validation and test the model
/// writes its answer token by token, and an answer that is not a class's is wrong.
///
/// ```no_run
/// use std::path::Path;
/// use burn::tensor::Device;
/// use finetune::model::Seq2Seq;
/// use finetune::preset::Preset;
///
/// let device = Device::flex().autodiff();
/// let config = Preset::MinilmLoraTrec.config();
/// let model = Seq2Seq::load(&config, Path::new("t5-base"), &[vec![465, 1], vec![4273, 1]], &device)?;
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct Seq2Seq {
    prompt: Option<SoftPrompt>,
    t5: T5ForConditionalGeneration,
    /// Tokens of each class's answer, with the end token.
    #[module(skip)]
    answers: Arc<Vec<Vec<i64>>>,
    #[module(skip)]
    trained: Trained,
}

impl Seq2Seq {
    /// The configured folder's model with what is trained; `answers` are the tokens of the
    /// classes.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for the folder, [`Error::Adapter`] for the adapter's settings.
    pub fn load(
        config: &Config,
        folder: &Path,
        answers: &[Vec<u32>],
        device: &Device,
    ) -> Result<Self, Error> {
        let sizes = t5_config(config, folder)?;
        let t5 = sizes.init(device)?;
        let options = t5.load_options();
        let t5 = load(t5, &names(), folder, &options)?;
        let answers = answers
            .iter()
            .map(|answer| answer.iter().copied().map(i64::from).collect())
            .collect();
        let new = |t5, prompt, trained| Self {
            prompt,
            t5,
            answers: Arc::new(answers),
            trained,
        };
        match config.adapter.kind {
            AdapterKind::Full => Ok(new(t5, None, Trained::Full)),
            kind if kind.has_virtual_tokens() => {
                let size = Size {
                    width: sizes.d_model,
                    layers: sizes.num_layers,
                    heads: sizes.num_heads,
                    // PEFT keeps a table for the decoder too, and does not use it.
                    parts: 2,
                };
                let t5 = t5.freeze();
                let (prompt, settings) = FAMILY.prompt(config, size, embeddings(&t5), device)?;
                Ok(new(t5, Some(prompt), Trained::Prompt(settings)))
            }
            // Adapters of layers.
            _ => {
                let (t5, trained) = FAMILY.adapted(t5, config, &[names()])?;
                Ok(new(t5, None, trained))
            }
        }
    }

    /// Entries of the folder's vocabulary.
    ///
    /// # Errors
    ///
    /// [`Error::Model`].
    pub fn vocabulary(config: &Config, folder: &Path) -> Result<usize, Error> {
        Ok(t5_config(config, folder)?.vocab_size)
    }

    fn source(&self, batch: &Seq2SeqBatch) -> T5Source {
        let [samples, _] = batch.input_ids.dims();
        let source = T5Source::new(batch.input_ids.clone()).with_attention_mask(batch.mask.clone());
        match &self.prompt {
            Some(prompt) => source.with_prompt(prompt.forward(samples)),
            None => source,
        }
    }

    /// Logits of the tokens of the true answer, `[M, U, C]`.
    fn logits(&self, batch: &Seq2SeqBatch) -> Result<Tensor<3>, burn_hf_models::Error> {
        let inputs = self.t5.config().shift_right(batch.targets.clone());
        let input = T5Input::new(self.source(batch), inputs);
        Ok(self.t5.forward(input)?.logits)
    }

    /// The mean of the samples' losses.
    fn mean_loss(&self, batch: &Seq2SeqBatch) -> Result<Tensor<1>, burn_hf_models::Error> {
        let logits = self.logits(batch)?;
        let [_, length, entries] = logits.dims();
        let real = behind_the_end(batch).bool_not().float();
        let [samples, _] = real.dims();
        // Behind the end of an answer logits are no output: drawn labels have no gradient there.
        let mask = burn_ief::expand_input(real.clone()).cast(logits.dtype());
        let logits = burn_ief::mark_output(logits * mask.unsqueeze_dim(2));
        let logits: Tensor<2> = logits.reshape([samples * length, entries]);
        let targets: Tensor<1, Int> = batch
            .targets
            .clone()
            .mask_fill(behind_the_end(batch), 0)
            .reshape([samples * length]);
        let tokens: Tensor<2> = cross_entropy(logits, targets, None).reshape([samples, length]);
        let losses = (tokens.clone() * real.cast(tokens.dtype())).sum_dim(1);
        Ok(burn_ief::mark_mean_loss(losses.squeeze_dim(1)))
    }

    /// The classes that the model's answers name; the number of classes for any other answer.
    fn answer(&self, batch: &Seq2SeqBatch) -> Result<Tensor<1, Int>, burn_hf_models::Error> {
        let longest = self.answers.iter().map(Vec::len).max().unwrap_or(1);
        let sampling = self.t5.config().sampling(longest);
        // Greedy: nothing is drawn.
        let mut generator = ChaCha8Rng::seed_from_u64(0);
        let written = self
            .t5
            .generate(self.source(batch), &sampling, &mut generator)?;
        let ends = &self.t5.config().eos_token_ids;
        let class = |row: &Vec<i64>| {
            let own = row.iter().position(|token| ends.contains(token));
            let own = &row[..own.map_or(row.len(), |end| end + 1)];
            let class = self.answers.iter().position(|answer| answer == own);
            class.unwrap_or(self.answers.len()) as i64
        };
        let classes: Vec<i64> = written.iter().map(class).collect();
        let shape = [classes.len()];
        let device = batch.labels.device();
        Ok(Tensor::from_data(TensorData::new(classes, shape), &device))
    }
}

/// Positions without a token of the answer, `[M, U]`.
fn behind_the_end(batch: &Seq2SeqBatch) -> Tensor<2, Bool> {
    batch.targets.clone().lower_elem(0)
}

fn names() -> NameMap {
    let names = T5ForConditionalGeneration::names();
    names.into_iter().next().unwrap_or_default()
}

/// The embedding table, `[vocab_size, d_model]`.
fn embeddings(t5: &T5ForConditionalGeneration) -> Tensor<2> {
    struct Table {
        path: Vec<String>,
        values: Option<Tensor<2>>,
    }
    impl ModuleVisitor for Table {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.into());
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.path == ["shared", "weight"] {
                self.values = Some(param.val().flatten(0, D - 2));
            }
        }
    }
    let mut table = Table {
        path: Vec::new(),
        values: None,
    };
    t5.visit(&mut table);
    let sizes = [t5.config().vocab_size, t5.config().d_model];
    let device = t5.devices().into_iter().next().unwrap_or_default();
    table
        .values
        .unwrap_or_else(|| Tensor::zeros(sizes, &device))
}

/// The folder's configuration with the dropout that was asked for.
fn t5_config(config: &Config, folder: &Path) -> Result<T5Config, Error> {
    let mut sizes = T5Config::from_folder(folder)?;
    if !config.model.dropout {
        sizes.dropout_rate = 0.0;
    }
    Ok(sizes)
}

impl TrainStep for Seq2Seq {
    type Input = Seq2SeqBatch;
    type Output = Outcome;

    fn step(&self, batch: Seq2SeqBatch) -> TrainOutput<Outcome> {
        let outcome = Outcome {
            loss: Judged::loss(self, &batch),
            answered: Answered::Classes {
                predicted: None,
                labels: batch.labels,
            },
        };
        outcome.trained(self)
    }
}

impl InferenceStep for Seq2Seq {
    type Input = Seq2SeqBatch;
    type Output = Outcome;

    fn step(&self, batch: Seq2SeqBatch) -> Outcome {
        Outcome {
            loss: Judged::loss(self, &batch),
            answered: Answered::Classes {
                predicted: Some(fits(self.answer(&batch))),
                labels: batch.labels,
            },
        }
    }
}

impl Judged for Seq2Seq {
    type Batch = Seq2SeqBatch;

    fn outputs(&self, batch: &Seq2SeqBatch) -> Tensor<3> {
        fits(self.logits(batch))
    }

    fn loss(&self, batch: &Seq2SeqBatch) -> Tensor<1> {
        fits(self.mean_loss(batch))
    }

    fn padding(batch: &Seq2SeqBatch) -> Option<Tensor<2, Bool>> {
        Some(behind_the_end(batch))
    }

    fn samples(batch: &Seq2SeqBatch) -> usize {
        let [samples, _] = batch.targets.dims();
        samples
    }
}

impl FineTune for Seq2Seq {
    fn save(&self, to: &Destination<'_>) -> Result<(), Error> {
        match (&self.trained, &self.prompt) {
            (Trained::Layers(settings), _) => {
                save_layers(&self.t5, settings, &[names()], &to.adapter())
            }
            (Trained::Prompt(settings), Some(prompt)) => {
                let adapter = prompt.to_folder(&**settings)?;
                Ok(adapter.write(to.adapter())?)
            }
            _ => {
                let class = Class {
                    name: Some("T5ForConditionalGeneration"),
                    has_head: false,
                    mask_token: None,
                };
                write_model_folder(&self.t5, &names(), Some(class), to)
            }
        }
    }

    fn load_full(self, folder: &Path) -> Result<Self, Error> {
        let t5 = load_weights(self.t5, &names(), folder)?;
        Ok(Self { t5, ..self })
    }

    fn head(&self) -> String {
        "t5.lm_head".into()
    }
}
