//! P-tuning's configuration.

use crate::error::Error;
use crate::settings::ranges::{below_one, counts, not_too_many};
use crate::settings::{
    Fields, TaskType, config_file, named_values, shared_setters, virtual_tokens,
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

config_file!(
    PTuningConfig("P_TUNING"):
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
        let config = Self {
            num_virtual_tokens,
            ..Self::unwritten()
        };
        config.written([])
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

    /// P-tuning has no tensors of layers.
    pub(crate) const MARKER: &'static str = "";

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a value out of range.
    pub fn validate(&self) -> Result<(), Error> {
        counts([
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
        ])?;
        below_one("encoder_dropout", self.encoder_dropout)?;
        let saved = self.modules_to_save.as_ref();
        not_too_many("modules_to_save", saved.map_or(0, Vec::len))?;
        self.rows().map(|_| ())
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

virtual_tokens!(PTuningConfig);
shared_setters!(PTuningConfig);
