//! Prompt tuning's configuration.

use super::initial_tokens::PromptInit;
use crate::error::Error;
use crate::settings::json::{is_unset, shown};
use crate::settings::ranges::{counts, not_too_many, refuse};
use crate::settings::{Fields, Json, TaskType, config_file, shared_setters, virtual_tokens};

/// The configuration of a tuned prompt, with the field names of PEFT.
///
/// Other fields of a file are kept and written again as they were.
///
/// ```
/// use burn_peft::PromptConfig;
/// use burn_peft::settings::TaskType;
///
/// let config = PromptConfig::new(20)
///     .with_token_dim(768)
///     .with_task_type(TaskType::Seq2SeqLm);
/// assert_eq!(config.rows()?, 40);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PromptConfig {
    /// Virtual tokens before the input.
    pub num_virtual_tokens: usize,
    /// Width of a token's embedding.
    pub token_dim: Option<usize>,
    /// Parts of the model that have their own prompt in the stored table. If it is not given, PEFT
    /// takes 2 for encoder-decoders and 1 for other models.
    pub num_transformer_submodules: Option<usize>,
    /// Attention heads of the model; prompt tuning does not use it.
    pub num_attention_heads: Option<usize>,
    /// Layers of the model; prompt tuning does not use it.
    pub num_layers: Option<usize>,
    /// First values of the virtual tokens.
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

config_file!(
    PromptConfig("PROMPT_TUNING", known: is_known):
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

/// Whether a field without a type has a meaning here.
fn is_known(name: &str) -> bool {
    name == "tokenizer_kwargs"
}

impl PromptConfig {
    /// PEFT's defaults, with every field that PEFT 0.18 writes.
    pub fn new(num_virtual_tokens: usize) -> Self {
        let config = Self {
            num_virtual_tokens,
            ..Self::unwritten()
        };
        config.written([("tokenizer_kwargs", Json::Null)])
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

    /// Prompt tuning has no tensors of layers.
    pub(crate) const MARKER: &'static str = "";

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a value out of range and for a text initialisation without its text
    /// or tokenizer, which PEFT does not load.
    pub fn validate(&self) -> Result<(), Error> {
        let saved = self.modules_to_save.as_ref();
        not_too_many("modules_to_save", saved.map_or(0, Vec::len))?;
        counts([
            ("num_virtual_tokens", Some(self.num_virtual_tokens)),
            ("token_dim", self.token_dim),
            (
                "num_transformer_submodules",
                self.num_transformer_submodules,
            ),
            ("num_attention_heads", self.num_attention_heads),
            ("num_layers", self.num_layers),
        ])?;
        self.rows()?;
        if self.prompt_tuning_init != PromptInit::Text {
            let kwargs = self.fields.get("tokenizer_kwargs");
            return match kwargs.filter(|kwargs| !is_unset(kwargs)) {
                None => Ok(()),
                Some(kwargs) => refuse(
                    "tokenizer_kwargs",
                    shown(kwargs),
                    "expected null where prompt_tuning_init is not TEXT",
                ),
            };
        }
        let expected = "expected a text where prompt_tuning_init is TEXT";
        if self.prompt_tuning_init_text.is_none() {
            return refuse("prompt_tuning_init_text", "null", expected);
        }
        match self.tokenizer_name_or_path.as_deref() {
            None | Some("") => refuse("tokenizer_name_or_path", "null", expected),
            Some(_) => Ok(()),
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
}

virtual_tokens!(PromptConfig);
shared_setters!(PromptConfig);
