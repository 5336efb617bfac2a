//! The class that an adapter and the folder's `architectures` say.

use burn_peft::AdapterFolder;

use super::classes::{ModelClass, Task};
use super::kinds::{Kind, class_error};
use crate::error::Error;
use crate::message::short;

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

impl Kind {
    pub(super) fn infer(
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
