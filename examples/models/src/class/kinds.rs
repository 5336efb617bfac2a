//! The kinds of models, with the names that `transformers` gives them and their classes here.

use super::classes::{ModelClass, Task};
use crate::error::Error;
use crate::fields::refuse;
use crate::llama::family::{FAMILIES, known as known_families};

/// A kind of models: how `transformers` names what is below its heads, and its classes here.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    /// The first part of names in a class with a head, and not in one without.
    pub(super) below_head: &'static str,
    /// Name of the kind in names of classes.
    pub(super) prefix: &'static str,
    pub(super) classes: &'static [(Task, ModelClass)],
}

/// The kinds by `model_type`; the [families] of decoders are one more.
///
/// [families]: crate::llama
const KINDS: [(&str, Kind); 7] = [
    (
        "bert",
        Kind {
            below_head: "bert",
            prefix: "Bert",
            classes: &[
                (Task::Base, ModelClass::BertModel),
                (
                    Task::SequenceClassification,
                    ModelClass::BertForSequenceClassification,
                ),
                (
                    Task::TokenClassification,
                    ModelClass::BertForTokenClassification,
                ),
            ],
        },
    ),
    (
        "roberta",
        Kind {
            below_head: "roberta",
            prefix: "Roberta",
            classes: &[
                (Task::Base, ModelClass::BertModel),
                (
                    Task::SequenceClassification,
                    ModelClass::RobertaForSequenceClassification,
                ),
                (
                    Task::TokenClassification,
                    ModelClass::RobertaForTokenClassification,
                ),
            ],
        },
    ),
    (
        "distilbert",
        Kind {
            below_head: "distilbert",
            prefix: "DistilBert",
            classes: &[
                (Task::Base, ModelClass::BertModel),
                (
                    Task::SequenceClassification,
                    ModelClass::DistilBertForSequenceClassification,
                ),
                (
                    Task::TokenClassification,
                    ModelClass::DistilBertForTokenClassification,
                ),
            ],
        },
    ),
    (
        "modernbert",
        Kind {
            below_head: "model",
            prefix: "ModernBert",
            classes: &[
                (Task::Base, ModelClass::ModernBertModel),
                (
                    Task::SequenceClassification,
                    ModelClass::ModernBertForSequenceClassification,
                ),
                (
                    Task::TokenClassification,
                    ModelClass::ModernBertForTokenClassification,
                ),
            ],
        },
    ),
    (
        "vit",
        Kind {
            below_head: "vit",
            prefix: "ViT",
            classes: &[
                (Task::Base, ModelClass::ViTModel),
                (
                    Task::ImageClassification,
                    ModelClass::ViTForImageClassification,
                ),
            ],
        },
    ),
    (
        "dinov2",
        Kind {
            below_head: "dinov2",
            prefix: "Dinov2",
            classes: &[
                (Task::Base, ModelClass::Dinov2Model),
                (
                    Task::ImageClassification,
                    ModelClass::Dinov2ForImageClassification,
                ),
            ],
        },
    ),
    (
        "t5",
        Kind {
            // Names are the same with and without a head.
            below_head: "",
            prefix: "T5",
            classes: &[(Task::Seq2Seq, ModelClass::T5ForConditionalGeneration)],
        },
    ),
];

/// The classes of a decoder.
const DECODER: &[(Task, ModelClass)] = &[
    (Task::Base, ModelClass::LlamaModel),
    (Task::CausalLm, ModelClass::LlamaForCausalLM),
];

impl Kind {
    /// The kind of a `model_type`.
    pub(super) fn of(model_type: Option<&str>) -> Result<Self, Error> {
        let mut kinds = KINDS.iter();
        if let Some((_, kind)) = kinds.find(|(known, _)| Some(*known) == model_type) {
            return Ok(*kind);
        }
        let mut families = FAMILIES.iter();
        if let Some(family) = families.find(|family| Some(family.model_type) == model_type) {
            return Ok(Self {
                below_head: "model",
                prefix: family.class,
                classes: DECODER,
            });
        }
        let found = model_type.map_or("nothing".into(), |found| format!("`{found}`"));
        let known: Vec<&str> = KINDS.iter().map(|(known, _)| *known).collect();
        refuse(
            "model_type",
            found,
            format!("{}, {}", known.join(", "), known_families()),
        )
    }

    pub(super) fn class(&self, task: Task, source: &str) -> Result<ModelClass, Error> {
        let mut classes = self.classes.iter();
        let found = classes.find(|(known, _)| *known == task);
        found.map(|(_, class)| *class).ok_or_else(|| {
            let known: Vec<String> = self
                .classes
                .iter()
                .map(|(task, _)| task.to_string())
                .collect();
            class_error(format!(
                "{source} is {task}: expected one of the {} classes that are supported: {}",
                self.prefix,
                known.join(", ")
            ))
        })
    }
}

pub(super) fn class_error(reason: String) -> Error {
    Error::Class { reason }
}
