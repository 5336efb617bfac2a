//! BERT with a classification head.

use std::path::Path;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Int, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use burn_hf_models::bert::{BertConfig, BertForSequenceClassification, BertInput, BertModel};
use burn_hf_models::weights::load;
use burn_peft::folder::AdapterKey;
use burn_peft::settings::TaskType;
use burn_peft::{ForwardAdapted, NameMap, Peft, SoftPrompt};
use programs::err_line;

use super::adapter::{Family, NAME, Size, Trained, save_layers};
use super::export::{
    Class, Destination, load_head, load_weights, remove_head, save_features_layers,
    save_features_prompt, save_head, write_model_folder,
};
use super::{FineTune, Judged, Outcome, fits, head};
use crate::config::{AdapterKind, Config, Pooling};
use crate::data::TextBatch;
use crate::error::Error;

/// What is trained of a model with this vector, as PEFT describes it.
fn family(pooling: Pooling) -> Family<'static> {
    Family {
        model_type: "bert",
        targets: &["query", "value"],
        saved: match pooling {
            Pooling::Pooler => &["classifier", "pooler"],
            Pooling::Mean => &["classifier"],
        },
        task: Some(TaskType::SequenceClassification),
    }
}

/// BERT (or MiniLM) and a new linear head on a vector of the text.
///
/// With [`Pooling::Pooler`], the default but for prompts, this is `BertForSequenceClassification` of `transformers`, and what is
/// written is loaded as such. With [`Pooling::Mean`] the vector is the mean over the text's own tokens, which no
/// class there has: encoder and head are written apart.
///
/// ```no_run
/// use std::path::Path;
/// use burn::tensor::Device;
/// use finetune::model::TextClassifier;
/// use finetune::preset::Preset;
///
/// let device = Device::flex().autodiff();
/// let config = Preset::MinilmLoraTrec.config();
/// let model = TextClassifier::load(&config, Path::new("minilm"), 6, &device)?;
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct TextClassifier {
    prompt: Option<SoftPrompt>,
    bert: BertModel,
    classifier: Linear,
    #[module(skip)]
    pooling: Pooling,
    /// Whether the model distinguishes the texts of a pair.
    #[module(skip)]
    segments: bool,
    #[module(skip)]
    trained: Trained,
}

impl TextClassifier {
    /// The configured folder's model, with a new head for `classes` and what is trained.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for the folder, [`Error::Adapter`] for the adapter's settings,
    /// [`Error::Config`] if texts of the configured length do not fit the model.
    pub fn load(
        config: &Config,
        folder: &Path,
        classes: usize,
        device: &Device,
    ) -> Result<Self, Error> {
        let sizes = bert_config(config, folder)?;
        let pooler = config.pooling() == Pooling::Pooler;
        let mut bert = if pooler {
            with_pooler(&sizes, folder, device)?
        } else {
            let options = BertModel::load_options().skip("pooler");
            load(sizes.init_model(false, device)?, &names(), folder, &options)?
        };
        let classifier = head::new(sizes.hidden_size, classes, device);
        let new = |bert, prompt, trained| Self {
            prompt,
            bert,
            classifier,
            pooling: config.pooling(),
            segments: has_segments(&sizes),
            trained,
        };
        match config.adapter.kind {
            AdapterKind::Full => Ok(new(bert, None, Trained::Full)),
            AdapterKind::Lora | AdapterKind::Ia3 => {
                if config.pooling() == Pooling::Mean && config.adapter.from.is_some() {
                    let expected = "pooler: the folder of a head on the mean of the tokens holds the encoder alone";
                    return Err(Error::config("model.pooling", "mean", expected));
                }
                let family = family(config.pooling());
                let model = new(bert, None, Trained::Full);
                let (model, trained) = family.adapted(model, config, &[names()])?;
                Ok(Self { trained, ..model })
            }
            AdapterKind::Prompt => {
                let size = Size {
                    width: sizes.hidden_size,
                    layers: sizes.num_hidden_layers,
                    heads: sizes.num_attention_heads,
                    parts: 1,
                };
                let pooler = bert.pooler.take();
                let mut bert = bert.freeze();
                // It is trained, as all that the settings save.
                bert.pooler = pooler;
                let table = bert.embeddings.word_embeddings.weight.val();
                let family = family(config.pooling());
                let (prompt, settings) = family.prompt(config, size, table, device)?;
                Ok(new(bert, Some(prompt), Trained::Prompt(settings)))
            }
        }
    }

    /// Entries of the folder's tables of tokens and, if the model distinguishes the texts of a pair, of
    /// segments.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn tables(config: &Config, folder: &Path) -> Result<(usize, Option<usize>), Error> {
        let sizes = bert_config(config, folder)?;
        let segments = has_segments(&sizes).then_some(sizes.type_vocab_size);
        Ok((sizes.vocab_size, segments))
    }

    fn logits(&self, batch: TextBatch) -> Result<Tensor<2>, burn_hf_models::Error> {
        let [samples, length] = batch.ids.dims();
        let mut input = BertInput::new(batch.ids).with_attention_mask(batch.mask.clone());
        if self.segments {
            input = input.with_token_type_ids(batch.types);
        }
        if let Some(prompt) = &self.prompt {
            input = input.with_prompt(prompt.forward(samples));
        }
        let output = self.bert.forward(input)?;
        let vector = match output.pooler_output {
            Some(pooled) => pooled,
            None => mean(output.last_hidden_state, batch.mask, length),
        };
        Ok(self.classifier.forward_adapted(vector))
    }
}

/// The mean over the last `length` tokens that `mask` `[M, length]` does not leave out.
pub(crate) fn mean(tokens: Tensor<3>, mask: Tensor<2, Int>, length: usize) -> Tensor<2> {
    let [rows, all, width] = tokens.dims();
    let own = tokens.narrow(1, all - length, length);
    let mask = burn_ief::expand_input(mask).float().cast(own.dtype());
    let counts = mask.clone().sum_dim(1);
    let sum: Tensor<2> = (own * mask.unsqueeze_dim(2))
        .sum_dim(1)
        .reshape([rows, width]);
    sum / counts
}

/// The folder's model with its pooler, or a new one where there is none.
fn with_pooler(sizes: &BertConfig, folder: &Path, device: &Device) -> Result<BertModel, Error> {
    let options = BertModel::load_options();
    let bert = sizes.init_model(true, device)?;
    match load(bert, &names(), folder, &options) {
        Err(burn_hf_models::Error::Missing { names: missing, .. })
            if missing.iter().all(|name| name.contains("pooler.dense")) =>
        {
            err_line!(
                "note: {} has no pooler: a new one is trained with the head",
                folder.display()
            );
            let bert = sizes.init_model(true, device)?;
            // As for a new head: draw its values here.
            if let Some(pooler) = &bert.pooler {
                pooler.dense.weight.val();
            }
            Ok(load(
                bert,
                &names(),
                folder,
                &options.keep_initial("pooler"),
            )?)
        }
        loaded => Ok(loaded?),
    }
}

fn has_segments(sizes: &BertConfig) -> bool {
    sizes.type_vocab_size > 1
}

fn names() -> NameMap {
    let names = BertForSequenceClassification::names();
    names.into_iter().next().unwrap_or_default()
}

/// The folder's configuration with the dropout that was asked for.
fn bert_config(config: &Config, folder: &Path) -> Result<BertConfig, Error> {
    let mut sizes = BertConfig::from_folder(folder)?;
    if let Some(found) = sizes.model_type.as_ref().filter(|kind| *kind != "bert") {
        // Its relatives have another head, and other names in the folder that is written.
        return Err(Error::from(burn_hf_models::Error::Config {
            path: Some(folder.join("config.json")),
            field: "model_type",
            value: format!("`{found}`"),
            expected: "bert for classifiers of texts".into(),
        }));
    }
    if !config.model.dropout {
        sizes.hidden_dropout_prob = 0.0;
        sizes.attention_probs_dropout_prob = 0.0;
    }
    let virtual_tokens = match config.adapter.kind {
        AdapterKind::Prompt => config.adapter.virtual_tokens,
        _ => 0,
    };
    let room = sizes.max_position_embeddings.saturating_sub(virtual_tokens);
    if config.max_length() > room {
        let expected = format!(
            "at most {room}: the model has {} positions, {virtual_tokens} of them for virtual \
             tokens",
            sizes.max_position_embeddings
        );
        return Err(Error::config(
            "data.max_length",
            config.max_length(),
            expected,
        ));
    }
    Ok(sizes)
}

impl TrainStep for TextClassifier {
    type Input = TextBatch;
    type Output = Outcome;

    fn step(&self, batch: TextBatch) -> TrainOutput<Outcome> {
        let labels = batch.labels.clone();
        Outcome::classified(fits(self.logits(batch)), labels).trained(self)
    }
}

impl InferenceStep for TextClassifier {
    type Input = TextBatch;
    type Output = Outcome;

    fn step(&self, batch: TextBatch) -> Outcome {
        let labels = batch.labels.clone();
        Outcome::classified(fits(self.logits(batch)), labels)
    }
}

impl Judged for TextClassifier {
    type Batch = TextBatch;

    fn outputs(&self, batch: &TextBatch) -> Tensor<3> {
        fits(self.logits(batch.clone())).unsqueeze_dim(1)
    }

    fn loss(&self, batch: &TextBatch) -> Tensor<1> {
        Outcome::classified(fits(self.logits(batch.clone())), batch.labels.clone()).loss
    }

    fn targets(batch: &TextBatch) -> Tensor<2, Int> {
        batch.labels.clone().unsqueeze_dim(1)
    }
}

/// The parameters under the names of `BertForSequenceClassification`.
#[derive(Module, Debug)]
struct Parts {
    bert: BertModel,
    classifier: Linear,
}

impl TextClassifier {
    /// Write what `BertForSequenceClassification` loads.
    fn save_classifier(&self, to: &Destination<'_>) -> Result<(), Error> {
        match (&self.trained, &self.prompt) {
            (Trained::Layers(settings), _) => {
                save_layers(self, settings, &[names()], &to.adapter())?
            }
            (Trained::Prompt(settings), Some(prompt)) => {
                let mut adapter = prompt.to_folder(settings)?;
                for (module, layer) in self.saved_layers() {
                    let weight = layer.weight.val().transpose().into_data();
                    let bias = layer.bias.as_ref().map(|bias| bias.val().into_data());
                    for (parameter, data) in [("weight", Some(weight)), ("bias", bias)] {
                        let key = AdapterKey::Saved {
                            module: module.into(),
                            parameter: parameter.into(),
                        };
                        let key = key.name(&adapter.config);
                        adapter.tensors.extend(data.map(|data| (key, data)));
                    }
                }
                adapter.write(to.adapter())?;
            }
            _ => {
                let parts = Parts {
                    bert: self.bert.clone(),
                    classifier: self.classifier.clone(),
                };
                let class = Class {
                    name: Some("BertForSequenceClassification"),
                    has_head: true,
                    mask_token: None,
                };
                write_model_folder(&parts, &names(), Some(class), to)?;
            }
        }
        remove_head(to)
    }

    /// Layers that a prompt's folder holds in full.
    fn saved_layers(&self) -> impl Iterator<Item = (&'static str, &Linear)> {
        let pooler = self.bert.pooler.as_ref();
        let pooler = pooler.map(|pooler| ("bert.pooler.dense", &pooler.dense));
        std::iter::once(("classifier", &self.classifier)).chain(pooler)
    }

    /// Write the encoder for `BertModel`, and the head apart.
    fn save_features(&self, to: &Destination<'_>) -> Result<(), Error> {
        let folder = match (&self.trained, &self.prompt) {
            (Trained::Layers(settings), _) => {
                let whole = self.save_adapter(NAME, (**settings).clone(), &[names()])?;
                let adapted = whole.adapted_modules()?;
                let adapted = adapted
                    .iter()
                    .map(|name| name.strip_prefix("bert.").unwrap_or(name).to_string())
                    .collect();
                let folder = to.adapter();
                save_features_layers(&self.bert, settings, &adapted, &names(), &folder)?;
                folder
            }
            (Trained::Prompt(settings), Some(prompt)) => {
                save_features_prompt(prompt, settings, &to.adapter())?;
                to.adapter()
            }
            _ => {
                let class = Class {
                    name: Some("BertModel"),
                    has_head: false,
                    mask_token: None,
                };
                write_model_folder(&self.bert, &names(), Some(class), to)?;
                to.model()
            }
        };
        save_head(&self.classifier, &folder)
    }
}

impl FineTune for TextClassifier {
    fn save(&self, to: &Destination<'_>) -> Result<(), Error> {
        match self.pooling {
            Pooling::Pooler => self.save_classifier(to),
            Pooling::Mean => self.save_features(to),
        }
    }

    fn load_full(self, folder: &Path) -> Result<Self, Error> {
        match self.pooling {
            Pooling::Pooler => {
                let parts = Parts {
                    bert: self.bert,
                    classifier: self.classifier,
                };
                let Parts { bert, classifier } = load_weights(parts, &names(), folder)?;
                Ok(Self {
                    bert,
                    classifier,
                    ..self
                })
            }
            Pooling::Mean => Ok(Self {
                bert: load_weights(self.bert, &names(), folder)?,
                classifier: load_head(self.classifier, &folder.join("model"))?,
                ..self
            }),
        }
    }

    fn head(&self) -> String {
        "classifier".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_leaves_padding_and_virtual_tokens_out() {
        let device = Device::flex();
        let tokens = Tensor::<3>::from_data(
            [[[9.0], [1.0], [3.0], [9.0]], [[9.0], [2.0], [4.0], [6.0]]],
            &device,
        );
        let mask = Tensor::<2, Int>::from_data([[1, 1, 0], [1, 1, 1]], &device);
        let mean = mean(tokens, mask, 3)
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        assert_eq!(mean, [2.0, 4.0]);
    }
}
