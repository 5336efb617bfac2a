//! The classes of models that this crate has, and what they are used for.

use std::fmt;

/// What a model is used for.
///
/// ```
/// use burn_hf_models::class::Task;
///
/// assert_eq!(Task::SequenceClassification.to_string(), "sequence classification");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Task {
    /// Hidden states, without a head.
    Base,
    /// One of several classes for each text.
    SequenceClassification,
    /// One of several classes for each token.
    TokenClassification,
    /// One of several classes for each image.
    ImageClassification,
    /// Another text for each text.
    Seq2Seq,
    /// The next token of a text.
    CausalLm,
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "hidden states without a head",
            Self::SequenceClassification => "sequence classification",
            Self::TokenClassification => "token classification",
            Self::ImageClassification => "image classification",
            Self::Seq2Seq => "sequence to sequence",
            Self::CausalLm => "causal language modelling",
        })
    }
}

/// A class of `transformers` that this crate has.
///
/// ```
/// use burn_hf_models::class::{ModelClass, Task};
///
/// let folder = tempfile::tempdir()?;
/// let config = r#"{"model_type": "bert", "architectures": ["BertForTokenClassification"]}"#;
/// std::fs::write(folder.path().join("config.json"), config)?;
/// let class = ModelClass::choose(folder.path(), None, None)?;
/// assert_eq!(class, ModelClass::BertForTokenClassification);
/// let class = ModelClass::choose(folder.path(), None, Some(Task::Base))?;
/// assert_eq!(class, ModelClass::BertModel);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelClass {
    /// [`BertModel`](crate::bert::BertModel), of BERT, RoBERTa and DistilBERT
    BertModel,
    /// [`BertForSequenceClassification`](crate::bert::BertForSequenceClassification)
    BertForSequenceClassification,
    /// [`BertForTokenClassification`](crate::bert::BertForTokenClassification)
    BertForTokenClassification,
    /// [`RobertaForSequenceClassification`](crate::roberta::RobertaForSequenceClassification)
    RobertaForSequenceClassification,
    /// [`RobertaForTokenClassification`](crate::roberta::RobertaForTokenClassification)
    RobertaForTokenClassification,
    /// [`DistilBertForSequenceClassification`](crate::distilbert::DistilBertForSequenceClassification)
    DistilBertForSequenceClassification,
    /// [`DistilBertForTokenClassification`](crate::distilbert::DistilBertForTokenClassification)
    DistilBertForTokenClassification,
    /// [`ModernBertModel`](crate::modernbert::ModernBertModel)
    ModernBertModel,
    /// [`ModernBertForSequenceClassification`](crate::modernbert::ModernBertForSequenceClassification)
    ModernBertForSequenceClassification,
    /// [`ModernBertForTokenClassification`](crate::modernbert::ModernBertForTokenClassification)
    ModernBertForTokenClassification,
    /// [`ViTModel`](crate::vit::ViTModel)
    ViTModel,
    /// [`ViTForImageClassification`](crate::vit::ViTForImageClassification)
    ViTForImageClassification,
    /// [`Dinov2Model`](crate::vit::dinov2::Dinov2Model)
    Dinov2Model,
    /// [`Dinov2ForImageClassification`](crate::vit::dinov2::Dinov2ForImageClassification)
    Dinov2ForImageClassification,
    /// [`T5ForConditionalGeneration`](crate::t5::T5ForConditionalGeneration)
    T5ForConditionalGeneration,
    /// [`LlamaModel`](crate::llama::LlamaModel), of every [family](crate::llama) of decoders
    LlamaModel,
    /// [`LlamaForCausalLM`](crate::llama::LlamaForCausalLM), of every [family](crate::llama) of decoders
    LlamaForCausalLM,
}

impl ModelClass {
    /// What its outputs are.
    pub fn task(&self) -> Task {
        match self {
            Self::BertModel
            | Self::ModernBertModel
            | Self::ViTModel
            | Self::Dinov2Model
            | Self::LlamaModel => Task::Base,
            Self::BertForSequenceClassification
            | Self::RobertaForSequenceClassification
            | Self::DistilBertForSequenceClassification
            | Self::ModernBertForSequenceClassification => Task::SequenceClassification,
            Self::BertForTokenClassification
            | Self::RobertaForTokenClassification
            | Self::DistilBertForTokenClassification
            | Self::ModernBertForTokenClassification => Task::TokenClassification,
            Self::ViTForImageClassification | Self::Dinov2ForImageClassification => {
                Task::ImageClassification
            }
            Self::T5ForConditionalGeneration => Task::Seq2Seq,
            Self::LlamaForCausalLM => Task::CausalLm,
        }
    }
}
