//! Classes that T5 names in words.

use std::path::PathBuf;

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor};
use burn_hf_models::t5::{T5ForConditionalGeneration, T5Input, T5Source};
use burn_peft::{AdapterFolder, Peft, SoftPrompt};

use super::columns::Row;
use super::options::PredictOptions;
use super::prediction::{Predict, Prediction, failed_at, probabilities};
use super::texts::examples;
use crate::data::{Seq2SeqBatcher, load_tokenizer};
use crate::error::Error;
use crate::model::prompt_of;
use crate::target::Target;

/// The name of the adapter in the model.
const NAME: &str = "default";

/// T5 with the words of its classes.
pub(super) struct Words {
    t5: T5ForConditionalGeneration,
    prompt: Option<SoftPrompt>,
    batcher: Seq2SeqBatcher,
    classes: usize,
    device: Device,
    path: PathBuf,
}

impl Words {
    pub fn open(
        target: &Target,
        labels: &[String],
        options: &PredictOptions,
        device: &Device,
    ) -> Result<Self, Error> {
        let Some(run) = &target.run else {
            let expected = "the folder of a run, whose record has the template and the words of the classes, for T5";
            return Err(Error::config("RUN", target.base.display(), expected));
        };
        let t5 = T5ForConditionalGeneration::load(&target.base, device)?;
        let adapter = target.adapter.as_deref().map(AdapterFolder::read);
        let adapter = adapter.transpose()?;
        let prompt = prompt_of(adapter.as_ref(), device)?;
        let t5 = match &adapter {
            Some(folder) => t5.load_adapter(NAME, folder, &T5ForConditionalGeneration::names())?,
            None => t5,
        };
        let tokenizer = load_tokenizer(&target.base, t5.config().vocab_size)?;
        let length = options.max_length.unwrap_or_else(|| run.max_length());
        Ok(Self {
            batcher: Seq2SeqBatcher::new(tokenizer, run.task()?, labels, length)?,
            t5,
            prompt,
            classes: labels.len(),
            device: device.clone(),
            path: options.path.clone(),
        })
    }

    /// The log-probability of each row's answer, `[M]`.
    fn log_probability(
        &self,
        source: T5Source,
        targets: Tensor<2, Int>,
    ) -> Result<Tensor<2>, Error> {
        let inputs = self.t5.config().shift_right(targets.clone());
        let logits = self.t5.forward(T5Input::new(source, inputs))?.logits;
        let [rows, _, _] = logits.dims();
        let behind = targets.clone().lower_elem(0);
        let chosen = targets.mask_fill(behind.clone(), 0).unsqueeze_dim(2);
        let chosen = log_softmax(logits, 2).gather(2, chosen).squeeze_dim::<2>(2);
        Ok(chosen.mask_fill(behind, 0.0).sum_dim(1).reshape([rows, 1]))
    }
}

impl Predict for Words {
    fn predict(&self, rows: &[Row]) -> Result<Vec<Prediction>, Error> {
        let encoded = self.batcher.encode(&examples(rows));
        let encoded = encoded.map_err(|error| failed_at(rows, &self.path, error))?;
        let batch = self.batcher.batch(encoded.items, &self.device);
        let mut all = Vec::new();
        for class in 0..self.classes {
            let targets = self.batcher.targets(&vec![class; rows.len()], &self.device);
            let source = T5Source::new(batch.input_ids.clone());
            let mut source = source.with_attention_mask(batch.mask.clone());
            if let Some(prompt) = &self.prompt {
                source = source.with_prompt(prompt.forward(rows.len()));
            }
            all.push(self.log_probability(source, targets)?);
        }
        // The softmax over classes divides by their sum.
        probabilities(Tensor::cat(all, 1), self.classes)
    }
}
