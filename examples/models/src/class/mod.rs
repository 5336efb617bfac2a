//! Which class of `transformers` a model folder and an adapter are for.

mod classes;
mod inferred;
mod kinds;

use std::path::Path;

use burn_peft::AdapterFolder;
use serde::Deserialize;

pub use classes::{ModelClass, Task};
use kinds::Kind;

use crate::error::Error;
use crate::weights::read_config;

/// Fields of `config.json` that say what a folder holds.
#[derive(Deserialize)]
struct Stated {
    model_type: Option<String>,
    architectures: Option<Vec<String>>,
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

#[cfg(test)]
mod tests;
