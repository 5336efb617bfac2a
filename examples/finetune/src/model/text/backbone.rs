//! BERT and its relatives, each with its heads.

use std::path::Path;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_hf_models::bert::{
    BertConfig, BertForSequenceClassification, BertForTokenClassification, BertInput, BertModel,
};
use burn_hf_models::distilbert::{
    DistilBertForSequenceClassification, DistilBertForTokenClassification,
};
use burn_hf_models::modernbert::{
    ModernBertConfig, ModernBertForSequenceClassification, ModernBertForTokenClassification,
};
use burn_hf_models::roberta::{RobertaForSequenceClassification, RobertaForTokenClassification};
use burn_hf_models::weights::{load, load_named};
use burn_peft::{ForwardAdapted, NameMap};
use programs::err_line;

use super::super::adapter::{Family, Trained};
use super::super::encoder_sizes::EncoderSizes;
use super::super::head;
use super::headed::Headed;
use super::mean::mean;
use crate::config::{Config, Pooling};
use crate::error::Error;
use crate::problem::Problem;

/// An encoder with a head: a class of `transformers`, or a head on the mean of BERT's tokens.
#[derive(Module, Debug)]
pub enum TextBackbone {
    /// `BertForSequenceClassification`.
    Bert(BertForSequenceClassification),
    /// BERT with a head on the mean of its tokens.
    Mean(MeanEncoder),
    /// `BertForTokenClassification`.
    BertTokens(BertForTokenClassification),
    /// `RobertaForSequenceClassification`.
    Roberta(RobertaForSequenceClassification),
    /// `RobertaForTokenClassification`.
    RobertaTokens(RobertaForTokenClassification),
    /// `DistilBertForSequenceClassification`.
    DistilBert(DistilBertForSequenceClassification),
    /// `DistilBertForTokenClassification`.
    DistilBertTokens(DistilBertForTokenClassification),
    /// `ModernBertForSequenceClassification`.
    ModernBert(ModernBertForSequenceClassification),
    /// `ModernBertForTokenClassification`.
    ModernBertTokens(ModernBertForTokenClassification),
}

/// Do the same with the model of every variant: `class` with one that is a class of `transformers`, `mean` with the
/// other.
macro_rules! on_backbone {
    ($backbone:expr, |$model:ident, $variant:ident| $class:expr, |$encoder:ident| $mean:expr) => {{
        use $crate::model::text::backbone::TextBackbone;
        match $backbone {
            TextBackbone::Mean($encoder) => $mean,
            TextBackbone::Bert($model) => {
                let $variant = TextBackbone::Bert;
                $class
            }
            TextBackbone::BertTokens($model) => {
                let $variant = TextBackbone::BertTokens;
                $class
            }
            TextBackbone::Roberta($model) => {
                let $variant = TextBackbone::Roberta;
                $class
            }
            TextBackbone::RobertaTokens($model) => {
                let $variant = TextBackbone::RobertaTokens;
                $class
            }
            TextBackbone::DistilBert($model) => {
                let $variant = TextBackbone::DistilBert;
                $class
            }
            TextBackbone::DistilBertTokens($model) => {
                let $variant = TextBackbone::DistilBertTokens;
                $class
            }
            TextBackbone::ModernBert($model) => {
                let $variant = TextBackbone::ModernBert;
                $class
            }
            TextBackbone::ModernBertTokens($model) => {
                let $variant = TextBackbone::ModernBertTokens;
                $class
            }
        }
    }};
}

pub(super) use on_backbone;

/// BERT and a linear head on the mean over the text's own tokens, which no class of `transformers` has.
#[derive(Module, Debug)]
pub struct MeanEncoder {
    pub(super) bert: BertModel,
    pub(super) classifier: Linear,
}

impl TextBackbone {
    /// The configured folder's model with a new head of as many outputs.
    pub(super) fn load(
        config: &Config,
        folder: &Path,
        sizes: &EncoderSizes,
        (problem, outputs): (Problem, usize),
        device: &Device,
    ) -> Result<Self, Error> {
        let loader = Loader {
            folder,
            width: sizes.width,
            outputs,
            device,
        };
        if sizes.model_type == "modernbert" {
            let config = modernbert_config(config, folder)?.with_labels(outputs);
            return Ok(match problem {
                Problem::Tokens => {
                    Self::ModernBertTokens(loader.load(config.init_token_classifier(device)?)?)
                }
                _ => Self::ModernBert(loader.load(config.init_classifier(device)?)?),
            });
        }
        let bert = bert_config(config, folder)?.with_labels(outputs);
        Ok(match (sizes.model_type.as_str(), problem) {
            ("roberta", Problem::Tokens) => {
                Self::RobertaTokens(loader.load(bert.init_roberta_token_classifier(device)?)?)
            }
            ("roberta", _) => Self::Roberta(loader.load(bert.init_roberta_classifier(device)?)?),
            ("distilbert", Problem::Tokens) => {
                Self::DistilBertTokens(loader.load(bert.init_distilbert_token_classifier(device)?)?)
            }
            ("distilbert", _) => {
                Self::DistilBert(loader.load(bert.init_distilbert_classifier(device)?)?)
            }
            (_, Problem::Tokens) => {
                Self::BertTokens(loader.load(bert.init_token_classifier(device)?)?)
            }
            _ if config.pooling() == Pooling::Mean => {
                let options = BertModel::load_options().skip("pooler");
                Self::Mean(MeanEncoder {
                    bert: load(
                        bert.init_model(false, device)?,
                        &bert_names(),
                        folder,
                        &options,
                    )?,
                    classifier: head::new(sizes.width, outputs, device),
                })
            }
            _ => Self::Bert(loader.load_pooled(&bert)?),
        })
    }

    /// Logits `[M, P, C]` of an input whose mask is `[M, T]`: P is 1, or the number of tokens T.
    pub(super) fn logits(&self, input: BertInput) -> Result<Tensor<3>, burn_hf_models::Error> {
        on_backbone!(self, |model, _variant| model.outputs(input), |encoder| {
            encoder.logits(input)
        })
    }

    /// What is trained in full next to an adapter.
    pub(super) fn saved(&self) -> &'static [&'static str] {
        on_backbone!(self, |model, _variant| saved(model), |_encoder| &[
            "classifier"
        ])
    }

    /// Put the configured adapter of layers on it.
    pub(super) fn adapted(
        self,
        family: &Family<'_>,
        config: &Config,
    ) -> Result<(Self, Trained), Error> {
        on_backbone!(
            self,
            |model, variant| {
                let (model, trained) = adapted(model, family, config)?;
                Ok((variant(model), trained))
            },
            |encoder| {
                let (encoder, trained) = family.adapted(encoder, config, &[bert_names()])?;
                Ok((Self::Mean(encoder), trained))
            }
        )
    }

    /// The same with its last layer changed.
    pub(super) fn map_head(self, change: impl FnOnce(Linear) -> Linear) -> Self {
        on_backbone!(
            self,
            |model, variant| variant(model.map_head(change)),
            |encoder| Self::Mean(MeanEncoder {
                classifier: change(encoder.classifier),
                ..encoder
            })
        )
    }

    /// The path of the last layer in the model.
    pub(super) fn head(&self) -> String {
        let variant = match self {
            Self::Bert(_) => "Bert",
            Self::Mean(_) => "Mean",
            Self::BertTokens(_) => "BertTokens",
            Self::Roberta(_) => "Roberta",
            Self::RobertaTokens(_) => "RobertaTokens",
            Self::DistilBert(_) => "DistilBert",
            Self::DistilBertTokens(_) => "DistilBertTokens",
            Self::ModernBert(_) => "ModernBert",
            Self::ModernBertTokens(_) => "ModernBertTokens",
        };
        let layer = on_backbone!(self, |model, _variant| head(model), |_encoder| "classifier");
        format!("{variant}.{layer}")
    }
}

fn saved<M: Headed>(_: &M) -> &'static [&'static str] {
    M::SAVED
}

fn head<M: Headed>(_: &M) -> &'static str {
    M::HEAD
}

fn adapted<M: Headed>(
    model: M,
    family: &Family<'_>,
    config: &Config,
) -> Result<(M, Trained), Error> {
    family.adapted(model, config, &M::namings())
}

impl MeanEncoder {
    fn logits(&self, input: BertInput) -> Result<Tensor<3>, burn_hf_models::Error> {
        let [_, length] = input.input_ids.dims();
        let mask = input.attention_mask.clone();
        let mask = mask.unwrap_or_else(|| input.input_ids.ones_like());
        let output = self.bert.forward(input)?;
        let vector = mean(output.last_hidden_state, mask, length);
        Ok(self.classifier.forward_adapted(vector).unsqueeze_dim(1))
    }
}

/// Loads models with new heads.
struct Loader<'a> {
    folder: &'a Path,
    width: usize,
    outputs: usize,
    device: &'a Device,
}

impl Loader<'_> {
    fn load<M: Headed>(&self, model: M) -> Result<M, Error> {
        let model = load_named(model, &M::namings(), self.folder, &M::options())?;
        Ok(model.with_new_head(self.width, self.outputs, self.device))
    }

    /// BERT with its pooler, or a new one where there is none.
    fn load_pooled(&self, config: &BertConfig) -> Result<BertForSequenceClassification, Error> {
        match self.load(config.init_classifier(self.device)?) {
            Err(Error::Model(burn_hf_models::Error::Missing { names: missing, .. }))
                if missing.iter().all(|name| name.contains("pooler.dense")) =>
            {
                err_line!(
                    "note: {} has no pooler: a new one is trained with the head",
                    self.folder.display()
                );
                let options = BertForSequenceClassification::options().keep_initial("pooler");
                let model = config.init_classifier(self.device)?;
                let model = load_named(model, &[bert_names()], self.folder, &options)?;
                Ok(model.with_new_head(self.width, self.outputs, self.device))
            }
            loaded => loaded,
        }
    }
}

/// BERT's names in files.
pub(super) fn bert_names() -> NameMap {
    let names = BertForSequenceClassification::names();
    names.into_iter().next().unwrap_or_default()
}

/// The folder's configuration with the dropout that was asked for.
fn bert_config(config: &Config, folder: &Path) -> Result<BertConfig, Error> {
    let mut sizes = BertConfig::from_folder(folder)?;
    if !config.model.dropout {
        sizes.hidden_dropout_prob = 0.0;
        sizes.attention_probs_dropout_prob = 0.0;
        sizes.classifier_dropout = Some(0.0);
    }
    Ok(sizes)
}

fn modernbert_config(config: &Config, folder: &Path) -> Result<ModernBertConfig, Error> {
    let mut sizes = ModernBertConfig::from_folder(folder)?;
    if !config.model.dropout {
        sizes.attention_dropout = 0.0;
        sizes.embedding_dropout = 0.0;
        sizes.mlp_dropout = 0.0;
        sizes.classifier_dropout = 0.0;
    }
    Ok(sizes)
}
