//! BERT and its relatives with a head.

mod backbone;
mod headed;
mod mean;
mod units;

use std::path::Path;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Bool, Device, Tensor};
use burn::train::{InferenceStep, TrainOutput, TrainStep};
use burn_hf_models::bert::BertInput;
use burn_ief::eval::LossKind;
use burn_peft::folder::AdapterKey;
use burn_peft::{Peft, SoftPrompt};

pub use backbone::{MeanEncoder, TextBackbone};
pub(crate) use mean::mean;

use super::adapter::{Family, NAME, Size, Trained, save_layers};
use super::encoder_sizes::EncoderSizes;
use super::export::{
    Class, Destination, load_head, load_weights, remove_head, save_features_layers,
    save_features_prompt, save_head, write_model_folder,
};
use super::outcome::tag_losses;
use super::{FineTune, Judged, Outcome, fits};
use crate::config::{AdapterKind, Config, Pooling};
use crate::data::{LabelBatch, NumberScale, TextBatch};
use crate::error::Error;
use crate::problem::Problem;
use backbone::{bert_names, on_backbone};
use headed::Headed;
use units::{data_units, learned_units};

/// What the user of a model with such a head should know.
const NO_POOLING: &str = "not set for this model: `transformers` has one vector for its head";

/// What a head is for.
///
/// ```
/// use finetune::model::HeadPlan;
/// use finetune::problem::Problem;
///
/// assert_eq!(HeadPlan::classes(6).problem, Problem::SingleLabel);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadPlan {
    /// What it says about a row.
    pub problem: Problem,
    /// Classes, labels or tags; 1 for a number.
    pub outputs: usize,
    /// How numbers are learned.
    pub scale: NumberScale,
}

impl HeadPlan {
    /// One of as many classes.
    pub fn classes(classes: usize) -> Self {
        Self {
            problem: Problem::SingleLabel,
            outputs: classes,
            scale: NumberScale::default(),
        }
    }
}

/// What is trained of a model with this head, as PEFT describes it.
fn family<'a>(model_type: &'a str, problem: Problem, saved: &'a [&'a str]) -> Family<'a> {
    Family {
        model_type,
        targets: match model_type {
            "distilbert" => &["q_lin", "v_lin"],
            "modernbert" => &["Wqkv"],
            _ => &["query", "value"],
        },
        saved,
        task: Some(problem.task_type()),
    }
}

/// BERT, RoBERTa, DistilBERT or ModernBERT with a new head, for a class, labels or a number of a text, or for a tag of
/// each of its words.
///
/// These are the classes of `transformers`, and what is written is loaded as such. BERT with [`Pooling::Mean`] has its
/// head on the mean over the text's own tokens, which no class there has: encoder and head are written apart.
///
/// ```no_run
/// use std::path::Path;
/// use burn::tensor::Device;
/// use finetune::model::{HeadPlan, TextModel};
/// use finetune::preset::Preset;
///
/// let device = Device::flex().autodiff();
/// let config = Preset::MinilmLoraTrec.config();
/// let model = TextModel::load(&config, Path::new("minilm"), HeadPlan::classes(6), &device)?;
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct TextModel {
    prompt: Option<SoftPrompt>,
    backbone: TextBackbone,
    #[module(skip)]
    plan: HeadPlan,
    /// Whether the model distinguishes the texts of a pair.
    #[module(skip)]
    segments: bool,
    #[module(skip)]
    trained: Trained,
}

impl TextModel {
    /// The configured folder's model, with a new head and what is trained.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] for the folder, [`Error::Adapter`] for the adapter's settings,
    /// [`Error::Config`] if texts of the configured length do not fit the model, or the kind of adapter does not.
    pub fn load(
        config: &Config,
        folder: &Path,
        plan: HeadPlan,
        device: &Device,
    ) -> Result<Self, Error> {
        let sizes = EncoderSizes::of(folder)?;
        check_options(config, plan.problem, &sizes)?;
        let kind = config.adapter.kind;
        let wanted = (plan.problem, plan.outputs);
        let backbone = TextBackbone::load(config, folder, &sizes, wanted, device)?;
        let new = |backbone, prompt, trained| Self {
            prompt,
            backbone,
            plan,
            segments: sizes.segments.is_some(),
            trained,
        };
        let family = family(&sizes.model_type, plan.problem, backbone.saved());
        match kind {
            AdapterKind::Full => Ok(new(backbone, None, Trained::Full)),
            kind if kind.has_virtual_tokens() => {
                let size = Size {
                    width: sizes.width,
                    layers: sizes.layers,
                    heads: sizes.heads,
                    parts: 1,
                };
                let (backbone, table) = without_encoder(backbone)?;
                let (prompt, settings) = family.prompt(config, size, table, device)?;
                Ok(new(backbone, Some(prompt), Trained::Prompt(settings)))
            }
            // Adapters of layers.
            _ => {
                let (backbone, trained) = backbone.adapted(&family, config)?;
                // The head of a folder gives numbers of the data.
                let backbone = match config.adapter.from {
                    Some(_) => backbone.map_head(|head| learned_units(head, plan.scale)),
                    None => backbone,
                };
                Ok(new(backbone, None, trained))
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
        let sizes = EncoderSizes::of(folder)?;
        let problem = config
            .task
            .map_or(Problem::SingleLabel, |task| task.problem());
        check_options(config, problem, &sizes)?;
        Ok((sizes.vocabulary, sizes.segments))
    }

    fn logits(&self, batch: TextBatch) -> Result<Tensor<3>, burn_hf_models::Error> {
        let [samples, _] = batch.ids.dims();
        let mut input = BertInput::new(batch.ids).with_attention_mask(batch.mask);
        if self.segments {
            input = input.with_token_type_ids(batch.types);
        }
        if let Some(prompt) = &self.prompt {
            input = input.with_prompt(prompt.forward(samples));
        }
        self.backbone.logits(input)
    }

    fn outcome(&self, batch: TextBatch) -> Outcome {
        let labels = batch.labels.clone();
        let logits = fits(self.logits(batch));
        Outcome::of_head(self.plan.problem, logits, labels, self.plan.scale)
    }
}

/// The encoder frozen, with head and pooler as they were, and the table of its vocabulary.
fn without_encoder(backbone: TextBackbone) -> Result<(TextBackbone, Tensor<2>), Error> {
    match backbone {
        TextBackbone::Bert(mut model) => {
            let pooler = model.bert.pooler.take();
            model.bert = model.bert.freeze();
            // It is trained, as all that the settings save.
            model.bert.pooler = pooler;
            let table = model.bert.embeddings.word_embeddings.weight.val();
            Ok((TextBackbone::Bert(model), table))
        }
        TextBackbone::Mean(mut model) => {
            model.bert = model.bert.freeze();
            let table = model.bert.embeddings.word_embeddings.weight.val();
            Ok((TextBackbone::Mean(model), table))
        }
        _ => Err(no_prompt()),
    }
}

fn no_prompt() -> Error {
    let expected = "lora, ia3 or full: prompts are for classes, labels and numbers of BERT";
    Error::config("adapter.kind", "prompt", expected)
}

/// Refuse what the model has no room or no place for.
fn check_options(config: &Config, problem: Problem, sizes: &EncoderSizes) -> Result<(), Error> {
    let is_bert = sizes.model_type == "bert";
    let is_prompt = config.adapter.kind.has_virtual_tokens();
    if is_prompt && (!is_bert || problem == Problem::Tokens) {
        return Err(no_prompt());
    }
    if !is_bert && let Some(pooling) = config.model.pooling {
        let found = format!("{pooling:?}").to_lowercase();
        return Err(Error::config("model.pooling", found, NO_POOLING));
    }
    let is_mean = config.pooling() == Pooling::Mean && problem != Problem::Tokens;
    if is_mean && !is_prompt && config.adapter.from.is_some() {
        let expected =
            "pooler: the folder of a head on the mean of the tokens holds the encoder alone";
        return Err(Error::config("model.pooling", "mean", expected));
    }
    let virtual_tokens = if is_prompt {
        config.adapter.virtual_tokens
    } else {
        0
    };
    let room = sizes.longest.saturating_sub(virtual_tokens);
    if config.max_length() > room {
        let expected = format!(
            "at most {room}: the model has {} positions, {virtual_tokens} of them for virtual \
             tokens",
            sizes.longest
        );
        return Err(Error::config(
            "data.max_length",
            config.max_length(),
            expected,
        ));
    }
    Ok(())
}

impl TrainStep for TextModel {
    type Input = TextBatch;
    type Output = Outcome;

    fn step(&self, batch: TextBatch) -> TrainOutput<Outcome> {
        self.outcome(batch).trained(self)
    }
}

impl InferenceStep for TextModel {
    type Input = TextBatch;
    type Output = Outcome;

    fn step(&self, batch: TextBatch) -> Outcome {
        self.outcome(batch)
    }
}

impl Judged for TextModel {
    type Batch = TextBatch;

    fn outputs(&self, batch: &TextBatch) -> Tensor<3> {
        fits(self.logits(batch.clone()))
    }

    fn loss(&self, batch: &TextBatch) -> Tensor<1> {
        match &batch.labels {
            LabelBatch::Tags(tags) => {
                let logits = fits(self.logits(batch.clone()));
                burn_ief::mark_mean_loss(tag_losses(logits, tags.clone()))
            }
            _ => self.outcome(batch.clone()).loss,
        }
    }

    fn loss_kind(&self) -> LossKind {
        self.plan.problem.loss_kind()
    }

    fn padding(batch: &TextBatch) -> Option<Tensor<2, Bool>> {
        match &batch.labels {
            LabelBatch::Tags(tags) => Some(tags.clone().lower_elem(0)),
            _ => None,
        }
    }

    fn samples(batch: &TextBatch) -> usize {
        let [samples, _] = batch.ids.dims();
        samples
    }
}

impl TextModel {
    /// Write what the class of `transformers` loads.
    fn save_class<M: Headed>(&self, model: &M, to: &Destination<'_>) -> Result<(), Error> {
        match (&self.trained, &self.prompt) {
            (Trained::Layers(settings), _) => {
                save_layers(model, settings, &M::namings(), &to.adapter())?;
            }
            (Trained::Prompt(settings), Some(prompt)) => {
                let mut adapter = prompt.to_folder(&**settings)?;
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
                let class = Class {
                    name: Some(M::CLASS),
                    has_head: true,
                    mask_token: None,
                };
                let names = M::namings().into_iter().next().unwrap_or_default();
                write_model_folder(model, &names, Some(class), to)?;
            }
        }
        remove_head(to)
    }

    /// Layers that a prompt's folder holds in full.
    fn saved_layers(&self) -> Vec<(&'static str, &Linear)> {
        let TextBackbone::Bert(model) = &self.backbone else {
            return Vec::new();
        };
        let pooler = model.bert.pooler.as_ref();
        let pooler = pooler.map(|pooler| ("bert.pooler.dense", &pooler.dense));
        std::iter::once(("classifier", &model.classifier))
            .chain(pooler)
            .collect()
    }

    /// Write the encoder for `BertModel`, and the head apart.
    fn save_features(&self, encoder: &MeanEncoder, to: &Destination<'_>) -> Result<(), Error> {
        let folder = match (&self.trained, &self.prompt) {
            (Trained::Layers(settings), _) => {
                let whole = encoder.save_adapter(NAME, (**settings).clone(), &[bert_names()])?;
                let adapted = whole.adapted_modules()?;
                let adapted = adapted
                    .iter()
                    .map(|name| name.strip_prefix("bert.").unwrap_or(name).to_string())
                    .collect();
                let folder = to.adapter();
                save_features_layers(&encoder.bert, settings, &adapted, &bert_names(), &folder)?;
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
                write_model_folder(&encoder.bert, &bert_names(), Some(class), to)?;
                to.model()
            }
        };
        save_head(&encoder.classifier, &folder)
    }
}

impl FineTune for TextModel {
    fn save(&self, to: &Destination<'_>) -> Result<(), Error> {
        let backbone = self.backbone.clone();
        let written = Self {
            backbone: backbone.map_head(|head| data_units(head, self.plan.scale)),
            ..self.clone()
        };
        on_backbone!(
            &written.backbone,
            |model, _variant| written.save_class(model, to),
            |encoder| written.save_features(encoder, to)
        )
    }

    fn load_full(self, folder: &Path) -> Result<Self, Error> {
        let scale = self.plan.scale;
        let backbone = on_backbone!(
            self.backbone,
            |model, variant| variant(load_class(model, folder)?),
            |encoder| TextBackbone::Mean(MeanEncoder {
                bert: load_weights(encoder.bert, &bert_names(), folder)?,
                classifier: load_head(encoder.classifier, &folder.join("model"))?,
            })
        );
        Ok(Self {
            backbone: backbone.map_head(|head| learned_units(head, scale)),
            ..self
        })
    }

    fn head(&self) -> String {
        format!("backbone.{}", self.backbone.head())
    }
}

fn load_class<M: Headed>(model: M, folder: &Path) -> Result<M, Error> {
    let names = M::namings().into_iter().next().unwrap_or_default();
    load_weights(model, &names, folder)
}
