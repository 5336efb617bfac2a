//! P-tuning's configuration.

use crate::error::Error;
use crate::settings::ranges::{at_least_one, below_one, not_too_many, refuse};
use crate::settings::{
    Fields, Json, TaskType, WRITTEN_AS, named_values, shared_setters, sorted, typed_fields,
    unsupported,
};

/// `encoder_reparameterization_type`: the network that makes the virtual tokens.
///
/// ```
/// use burn_peft::p_tuning::EncoderType;
///
/// assert_eq!(EncoderType::Mlp.name(), "MLP");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum EncoderType {
    /// Three linear layers with ReLU.
    #[default]
    Mlp,
    /// An LSTM in both directions and two linear layers. Folders of it load; training one is not
    /// supported.
    Lstm,
}

named_values!(
    EncoderType,
    "expected MLP or LSTM",
    Mlp = "MLP",
    Lstm = "LSTM",
);

/// The configuration of P-tuning, with the field names and defaults of PEFT (`PromptEncoderConfig`).
///
/// Other fields of a file are kept and written again as they were.
///
/// ```
/// use burn_peft::PTuningConfig;
///
/// let config = PTuningConfig::new(20).with_token_dim(768).with_encoder_hidden_size(128);
/// config.validate()?;
/// assert_eq!(config.rows()?, 20);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PTuningConfig {
    /// Virtual tokens before the input.
    pub num_virtual_tokens: usize,
    /// Width of a token's embedding.
    pub token_dim: Option<usize>,
    /// Parts of the model that have their own tokens in the stored table. If it is not given, PEFT takes 2
    /// for encoder-decoders and 1 for other models.
    pub num_transformer_submodules: Option<usize>,
    /// Attention heads of the model; P-tuning does not use it.
    pub num_attention_heads: Option<usize>,
    /// Layers of the model; P-tuning does not use it.
    pub num_layers: Option<usize>,
    /// The network that makes the tokens.
    pub encoder_reparameterization_type: EncoderType,
    /// Width inside of the network; `None` is that of a token.
    pub encoder_hidden_size: Option<usize>,
    /// Layers of an LSTM.
    pub encoder_num_layers: usize,
    /// Dropout between the layers of an LSTM.
    pub encoder_dropout: f64,
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
    PTuningConfig:
    num_virtual_tokens,
    token_dim,
    num_transformer_submodules,
    num_attention_heads,
    num_layers,
    encoder_reparameterization_type,
    encoder_hidden_size,
    encoder_num_layers,
    encoder_dropout,
    modules_to_save,
    task_type,
    inference_mode,
    base_model_name_or_path,
    revision,
    peft_version,
);

impl PTuningConfig {
    /// PEFT's defaults, with every field that PEFT 0.18 writes.
    pub fn new(num_virtual_tokens: usize) -> Self {
        let untyped = [
            ("auto_mapping", Json::Null),
            ("peft_type", Json::String(Self::PEFT_TYPE.into())),
        ];
        let mut config = Self {
            num_virtual_tokens,
            inference_mode: true,
            peft_version: Some(WRITTEN_AS.into()),
            ..Self::unwritten()
        };
        config.fields = sorted(config.typed().chain(untyped));
        config
    }

    /// PEFT's defaults for fields that a file does not have.
    fn unwritten() -> Self {
        Self {
            num_virtual_tokens: 0,
            token_dim: None,
            num_transformer_submodules: None,
            num_attention_heads: None,
            num_layers: None,
            encoder_reparameterization_type: EncoderType::Mlp,
            encoder_hidden_size: None,
            encoder_num_layers: 2,
            encoder_dropout: 0.0,
            modules_to_save: None,
            task_type: None,
            inference_mode: false,
            base_model_name_or_path: None,
            revision: None,
            peft_version: None,
            fields: Fields::default(),
        }
    }

    /// The method, as `peft_type` names it.
    pub(crate) const PEFT_TYPE: &'static str = "P_TUNING";

    /// P-tuning has no tensors of layers.
    pub(crate) const MARKER: &'static str = "";

    pub(crate) fn from_fields(fields: Fields) -> Result<Self, Error> {
        let config = Self::read(fields)?;
        config.validate()?;
        Ok(config)
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a value out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let counts = [
            ("num_virtual_tokens", Some(self.num_virtual_tokens)),
            ("token_dim", self.token_dim),
            (
                "num_transformer_submodules",
                self.num_transformer_submodules,
            ),
            ("num_attention_heads", self.num_attention_heads),
            ("num_layers", self.num_layers),
            ("encoder_hidden_size", self.encoder_hidden_size),
            ("encoder_num_layers", Some(self.encoder_num_layers)),
        ];
        for (field, count) in counts {
            at_least_one(field, count.unwrap_or(1))?;
        }
        below_one("encoder_dropout", self.encoder_dropout)?;
        let saved = self.modules_to_save.as_ref();
        not_too_many("modules_to_save", saved.map_or(0, Vec::len))?;
        self.rows().map(|_| ())
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
        match self.num_virtual_tokens.checked_mul(submodules) {
            Some(rows) => Ok(rows),
            None => refuse(
                "num_virtual_tokens",
                self.num_virtual_tokens,
                "expected fewer: no table can have that many rows",
            ),
        }
    }

    /// Fields of the file that are set and unknown to this crate. They are kept, and they have no
    /// effect.
    pub fn unknown_fields(&self) -> Vec<String> {
        unsupported::unknown(&self.fields, |name| Self::TYPED.contains(&name))
    }

    /// Set the width of a token's embedding.
    pub fn with_token_dim(self, width: usize) -> Self {
        Self {
            token_dim: Some(width),
            ..self
        }
    }

    /// Set how many parts of the model have their own tokens.
    pub fn with_num_transformer_submodules(self, submodules: usize) -> Self {
        Self {
            num_transformer_submodules: Some(submodules),
            ..self
        }
    }

    /// Set the layers and attention heads of the model, which PEFT writes into the file.
    pub fn with_model_size(self, num_layers: usize, num_attention_heads: usize) -> Self {
        Self {
            num_layers: Some(num_layers),
            num_attention_heads: Some(num_attention_heads),
            ..self
        }
    }

    /// Set the width inside of the network.
    pub fn with_encoder_hidden_size(self, width: usize) -> Self {
        Self {
            encoder_hidden_size: Some(width),
            ..self
        }
    }

    /// Set the network.
    pub fn with_encoder(self, encoder: EncoderType) -> Self {
        Self {
            encoder_reparameterization_type: encoder,
            ..self
        }
    }
}

shared_setters!(PTuningConfig);
