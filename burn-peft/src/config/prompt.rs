//! Prompt tuning's part of `adapter_config.json`.

use super::choice::{PromptInit, TaskType};
use super::field::{FieldValue, read_field, typed_fields};
use super::json::{Fields, Json};
use super::lora::{WRITTEN_AS, sorted};
use super::support;
use crate::error::Error;

/// The configuration of a tuned prompt, with the field names of PEFT.
///
/// Fields of a file that have no place here are kept and written again as they were.
///
/// ```
/// use burn_peft::config::{PromptSettings, TaskType};
///
/// let settings = PromptSettings::new(20)
///     .with_token_dim(768)
///     .with_task_type(TaskType::Seq2SeqLm);
/// assert_eq!(settings.rows()?, 40);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PromptSettings {
    /// Virtual tokens before the input.
    pub num_virtual_tokens: usize,
    /// Width of a token's embedding.
    pub token_dim: Option<usize>,
    /// Parts of the model that get a prompt of their own in the stored table: PEFT takes 2 for
    /// encoder-decoders and 1 else where it is not given.
    pub num_transformer_submodules: Option<usize>,
    /// Attention heads of the model; prompt tuning does not use it.
    pub num_attention_heads: Option<usize>,
    /// Layers of the model; prompt tuning does not use it.
    pub num_layers: Option<usize>,
    /// How the virtual tokens begin.
    pub prompt_tuning_init: PromptInit,
    /// The text that they begin as.
    pub prompt_tuning_init_text: Option<String>,
    /// The tokenizer of that text.
    pub tokenizer_name_or_path: Option<String>,
    /// Ends of the names of modules that are trained in full and saved with the adapter.
    pub modules_to_save: Option<Vec<String>>,
    /// The task.
    pub task_type: Option<TaskType>,
    /// PEFT loads the adapter frozen; it writes `true`.
    pub inference_mode: bool,
    /// Name or path of the base model.
    pub base_model_name_or_path: Option<String>,
    /// Revision of the base model.
    pub revision: Option<String>,
    /// The version of PEFT that wrote the file, from 0.18.
    pub peft_version: Option<String>,
    /// Every field of the file.
    fields: Fields,
}

typed_fields!(
    PromptSettings:
    num_virtual_tokens,
    token_dim,
    num_transformer_submodules,
    num_attention_heads,
    num_layers,
    prompt_tuning_init,
    prompt_tuning_init_text,
    tokenizer_name_or_path,
    modules_to_save,
    task_type,
    inference_mode,
    base_model_name_or_path,
    revision,
    peft_version,
);

impl PromptSettings {
    /// PEFT's defaults, with every field that PEFT 0.18 writes.
    pub fn new(num_virtual_tokens: usize) -> Self {
        let untyped = [
            ("auto_mapping", Json::Null),
            ("peft_type", Json::String("PROMPT_TUNING".into())),
            ("tokenizer_kwargs", Json::Null),
        ];
        let mut settings = Self {
            num_virtual_tokens,
            inference_mode: true,
            peft_version: Some(WRITTEN_AS.into()),
            ..Self::unwritten()
        };
        settings.fields = sorted(settings.typed().chain(untyped));
        settings
    }

    /// PEFT's defaults for fields that a file does not have.
    fn unwritten() -> Self {
        Self {
            num_virtual_tokens: 0,
            token_dim: None,
            num_transformer_submodules: None,
            num_attention_heads: None,
            num_layers: None,
            prompt_tuning_init: PromptInit::Random,
            prompt_tuning_init_text: None,
            tokenizer_name_or_path: None,
            modules_to_save: None,
            task_type: None,
            inference_mode: false,
            base_model_name_or_path: None,
            revision: None,
            peft_version: None,
            fields: Fields::default(),
        }
    }

    pub(crate) fn from_fields(fields: Fields) -> Result<Self, Error> {
        let settings = Self::read(fields)?;
        settings.validate()?;
        Ok(settings)
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a value out of range and for a text initialisation without its text
    /// or tokenizer, which PEFT does not load.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |field, value: &dyn ToString, expected| {
            let value = value.to_string();
            Err(Error::Config {
                field,
                value,
                expected,
            })
        };
        if self.num_virtual_tokens == 0 {
            return refuse("num_virtual_tokens", &0, "expected 1 or more");
        }
        if self.token_dim == Some(0) {
            return refuse("token_dim", &0, "expected 1 or more");
        }
        if self.num_transformer_submodules == Some(0) {
            return refuse("num_transformer_submodules", &0, "expected 1 or more");
        }
        self.rows()?;
        let kwargs = self.fields.get("tokenizer_kwargs");
        if self.prompt_tuning_init != PromptInit::Text {
            return match kwargs.filter(|kwargs| !kwargs.is_unset()) {
                None => Ok(()),
                Some(kwargs) => refuse(
                    "tokenizer_kwargs",
                    &kwargs.shown(),
                    "expected null where prompt_tuning_init is not TEXT",
                ),
            };
        }
        let expected = "expected a text where prompt_tuning_init is TEXT";
        if self.prompt_tuning_init_text.is_none() {
            return refuse("prompt_tuning_init_text", &"null", expected);
        }
        match self.tokenizer_name_or_path.as_deref() {
            None | Some("") => refuse("tokenizer_name_or_path", &"null", expected),
            Some(_) => Ok(()),
        }
    }

    /// Rows of the stored table: the virtual tokens of every submodule. The first
    /// `num_virtual_tokens` are used.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a product that no table can have.
    pub fn rows(&self) -> Result<usize, Error> {
        let by_task = match self.task_type {
            Some(TaskType::Seq2SeqLm) => 2,
            _ => 1,
        };
        let submodules = self.num_transformer_submodules.unwrap_or(by_task);
        let rows = self.num_virtual_tokens.checked_mul(submodules);
        rows.ok_or_else(|| Error::Config {
            field: "num_virtual_tokens",
            value: self.num_virtual_tokens.to_string(),
            expected: "expected fewer",
        })
    }

    /// Fields of the file that are set and unknown to this crate. They are kept, and they have no
    /// effect.
    pub fn unknown_fields(&self) -> Vec<String> {
        support::unknown(&self.fields, |name| {
            Self::TYPED.contains(&name) || name == "tokenizer_kwargs" || support::known_common(name)
        })
    }

    /// Set the width of a token's embedding.
    pub fn with_token_dim(self, width: usize) -> Self {
        Self {
            token_dim: Some(width),
            ..self
        }
    }

    /// Set how many parts of the model have a prompt of their own.
    pub fn with_num_transformer_submodules(self, submodules: usize) -> Self {
        Self {
            num_transformer_submodules: Some(submodules),
            ..self
        }
    }

    /// Set the layers and attention heads of the model, which PEFT notes down.
    pub fn with_model_size(self, num_layers: usize, num_attention_heads: usize) -> Self {
        Self {
            num_layers: Some(num_layers),
            num_attention_heads: Some(num_attention_heads),
            ..self
        }
    }

    /// Begin as `text`, read by the tokenizer of that name.
    pub fn with_text(self, text: impl Into<String>, tokenizer: impl Into<String>) -> Self {
        Self {
            prompt_tuning_init: PromptInit::Text,
            prompt_tuning_init_text: Some(text.into()),
            tokenizer_name_or_path: Some(tokenizer.into()),
            ..self
        }
    }

    /// Begin as tokens drawn from the vocabulary.
    pub fn with_sampled_vocabulary(self) -> Self {
        Self {
            prompt_tuning_init: PromptInit::SampleVocab,
            ..self
        }
    }

    /// Set the modules that are trained in full.
    pub fn with_modules_to_save<N: Into<String>>(
        self,
        modules: impl IntoIterator<Item = N>,
    ) -> Self {
        Self {
            modules_to_save: Some(modules.into_iter().map(Into::into).collect()),
            ..self
        }
    }

    /// Set the task, and put its [`heads`](TaskType::heads) into `modules_to_save` as PEFT does.
    pub fn with_task_type(mut self, task: TaskType) -> Self {
        self.task_type = Some(task);
        task.add_heads(&mut self.modules_to_save);
        self
    }

    /// Set the name of the base model.
    pub fn with_base_model(self, name_or_path: impl Into<String>) -> Self {
        Self {
            base_model_name_or_path: Some(name_or_path.into()),
            ..self
        }
    }
}
