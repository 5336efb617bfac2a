//! Which class of `transformers` a model folder and an adapter are for.

use std::fmt;
use std::path::Path;

use burn_peft::AdapterFolder;
use serde::Deserialize;

use crate::error::Error;
use crate::fields::refuse;
use crate::llama::family::{FAMILIES, known as known_families};
use crate::message::short;
use crate::weights::read_config;

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

/// Fields of `config.json` that say what a folder holds.
#[derive(Deserialize)]
struct Stated {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
}

/// A kind of models: how `transformers` names what is below its heads, and its classes here.
#[derive(Clone, Copy)]
struct Kind {
    /// The first part of names in a class with a head, and not in one without.
    below_head: &'static str,
    /// Name of the kind in names of classes.
    prefix: &'static str,
    classes: &'static [(Task, ModelClass)],
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

/// What the names of an adapter's tensors say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Made for a class with a head.
    Headed,
    /// Made for a class without one.
    Base,
    /// Nothing.
    Neutral,
}

impl ModelClass {
    /// The class that fits a model folder, an adapter for it and a wanted task.
    ///
    /// A given `task` decides alone. Without one the adapter decides, by its `task_type` and by the names of its
    /// tensors; where it does not tell, the folder's `architectures` do. A pretrained encoder (`BertModel`,
    /// `BertForPreTraining`) takes an adapter for any task; a folder that was trained for another task than the
    /// adapter is refused.
    ///
    /// # Errors
    ///
    /// Those of [`read_config`]; [`Error::Config`] for a kind of models that this crate does not have;
    /// [`Error::Class`] for a task that it does not have for this kind, where adapter and folder contradict each
    /// other, and where nothing tells the task.
    pub fn choose(
        folder: &Path,
        adapter: Option<&AdapterFolder>,
        task: Option<Task>,
    ) -> Result<Self, Error> {
        let stated: Stated = read_config(folder)?;
        let kind = Kind::of(stated.model_type.as_deref());
        let kind = kind.map_err(|error| error.in_config(folder))?;
        if let Some(task) = task {
            return kind.class(task, "the wanted task");
        }
        let architecture = stated.architectures.unwrap_or_default().into_iter().next();
        kind.infer(architecture.as_deref(), adapter)
    }

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

    /// Its name in `transformers` for a folder of this `model_type`.
    ///
    /// ```
    /// use burn_hf_models::class::ModelClass;
    ///
    /// let class = ModelClass::LlamaForCausalLM;
    /// assert_eq!(class.name("qwen3")?, "Qwen3ForCausalLM");
    /// assert_eq!(ModelClass::BertModel.name("roberta")?, "RobertaModel");
    /// # Ok::<(), burn_hf_models::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a kind of models that this crate does not have.
    pub fn name(&self, model_type: &str) -> Result<String, Error> {
        let prefix = Kind::of(Some(model_type))?.prefix;
        let end = match self.task() {
            // What is below Gemma 3's head has a name of its own.
            Task::Base if model_type == "gemma3_text" => "TextModel",
            Task::Base => "Model",
            Task::SequenceClassification => "ForSequenceClassification",
            Task::TokenClassification => "ForTokenClassification",
            Task::ImageClassification => "ForImageClassification",
            Task::Seq2Seq => "ForConditionalGeneration",
            Task::CausalLm => "ForCausalLM",
        };
        Ok(format!("{prefix}{end}"))
    }
}

impl Kind {
    /// The kind of a `model_type`.
    fn of(model_type: Option<&str>) -> Result<Self, Error> {
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

    fn class(&self, task: Task, source: &str) -> Result<ModelClass, Error> {
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

    fn infer(
        &self,
        architecture: Option<&str>,
        adapter: Option<&AdapterFolder>,
    ) -> Result<ModelClass, Error> {
        let trained_for = architecture.map(|class| self.task_of(class));
        let (stated, keys) = match adapter {
            Some(adapter) => (self.stated(adapter)?, self.keys(adapter)),
            None => (None, Keys::Neutral),
        };
        if let Some(task) = stated {
            let class = self.class(task, "the adapter's task_type")?;
            let of_keys = match keys {
                Keys::Headed => task != Task::Base,
                Keys::Base => task == Task::Base,
                Keys::Neutral => true,
            };
            if !of_keys {
                let made_for = match keys {
                    Keys::Base => "without a head",
                    _ => "with a head",
                };
                return Err(class_error(format!(
                    "the adapter contradicts itself: its task_type is {task}, but the names of its tensors are \
                     those of a class {made_for}; give the task if you know it"
                )));
            }
            return self.agreed(class, architecture, trained_for.flatten());
        }
        if keys == Keys::Base {
            return self.class(Task::Base, "the adapter");
        }
        let trained_for = trained_for.flatten();
        let headed: Vec<_> = self
            .classes
            .iter()
            .filter(|(task, _)| *task != Task::Base)
            .collect();
        match (trained_for, headed.as_slice()) {
            (Some(Trained::For(task)), _) if keys == Keys::Neutral || task != Task::Base => {
                self.class(task, "the folder's class")
            }
            (None | Some(Trained::For(_)), [(_, class)]) => Ok(*class),
            _ => Err(class_error(format!(
                "nothing tells which class to use: the adapter has no task_type, and config.json names {} in \
                 `architectures`; give the task",
                architecture.map_or("no class".into(), |class| format!("`{}`", short(class)))
            ))),
        }
    }

    /// Refuse a folder that was trained for another task than the adapter.
    fn agreed(
        &self,
        class: ModelClass,
        architecture: Option<&str>,
        trained_for: Option<Trained>,
    ) -> Result<ModelClass, Error> {
        let task = class.task();
        let other = match trained_for {
            Some(Trained::For(trained)) => {
                task != Task::Base && trained != Task::Base && trained != task
            }
            Some(Trained::ForOther) => task != Task::Base,
            None => false,
        };
        if !other {
            return Ok(class);
        }
        Err(class_error(format!(
            "the adapter is for {task}, but the model folder holds `{}` by its config.json; give the task to use \
             the folder for it all the same",
            short(architecture.unwrap_or_default())
        )))
    }

    /// The task of the adapter's `task_type`.
    fn stated(&self, adapter: &AdapterFolder) -> Result<Option<Task>, Error> {
        let stated = adapter.config.field("task_type").unwrap_or_default();
        let stated = stated.trim_matches('"');
        Ok(Some(match stated {
            "" | "null" => return Ok(None),
            // A vision transformer has one way to classify.
            "SEQ_CLS"
                if self
                    .classes
                    .iter()
                    .any(|(task, _)| *task == Task::ImageClassification) =>
            {
                Task::ImageClassification
            }
            "SEQ_CLS" => Task::SequenceClassification,
            "TOKEN_CLS" => Task::TokenClassification,
            "SEQ_2_SEQ_LM" => Task::Seq2Seq,
            "CAUSAL_LM" => Task::CausalLm,
            "FEATURE_EXTRACTION" => Task::Base,
            other => {
                return Err(class_error(format!(
                    "the adapter's task_type is {}: expected SEQ_CLS, TOKEN_CLS, SEQ_2_SEQ_LM, CAUSAL_LM or \
                     FEATURE_EXTRACTION",
                    short(other)
                )));
            }
        }))
    }

    /// What the names of an adapter's tensors say about the class that it was made for.
    fn keys(&self, adapter: &AdapterFolder) -> Keys {
        const HEADS: [&str; 7] = [
            "classifier",
            "pre_classifier",
            "head",
            "score",
            "lm_head",
            "qa_outputs",
            "cls",
        ];
        if self.below_head.is_empty() {
            return Keys::Neutral;
        }
        let firsts = adapter.tensors.keys().filter_map(|key| {
            let module = key.strip_prefix("base_model.")?;
            let module = module.strip_prefix("model.").unwrap_or(module);
            module.split('.').next()
        });
        let mut found = Keys::Neutral;
        for first in firsts {
            if first == self.below_head {
                return Keys::Headed;
            }
            if !HEADS.contains(&first) {
                found = Keys::Base;
            }
        }
        found
    }

    /// What a class of `transformers` is trained for; `None` if it is a pretrained model for any task.
    fn task_of(&self, class: &str) -> Option<Trained> {
        let task = match class.strip_prefix(self.prefix)? {
            "Model" | "TextModel" if !self.below_head.is_empty() => Task::Base,
            "ForSequenceClassification" => Task::SequenceClassification,
            "ForTokenClassification" => Task::TokenClassification,
            "ForImageClassification" => Task::ImageClassification,
            "ForConditionalGeneration" | "WithLMHeadModel" => Task::Seq2Seq,
            "ForCausalLM" => Task::CausalLm,
            "ForQuestionAnswering" | "ForMultipleChoice" | "EncoderModel" => {
                return Some(Trained::ForOther);
            }
            _ => return None,
        };
        let known = self.classes.iter().any(|(known, _)| *known == task);
        Some(if known {
            Trained::For(task)
        } else {
            Trained::ForOther
        })
    }
}

/// What a folder's weights are trained for.
#[derive(Debug, Clone, Copy)]
enum Trained {
    /// A task that this crate has a class for.
    For(Task),
    /// Another one.
    ForOther,
}

fn class_error(reason: String) -> Error {
    Error::Class { reason }
}

#[cfg(test)]
mod tests;
