//! Prefix tuning's configuration.

use crate::error::Error;
use crate::settings::ranges::{counts, not_too_many, refuse};
use crate::settings::{Fields, TaskType, config_file, shared_setters};

/// The configuration of prefix tuning, with the field names and defaults of PEFT.
///
/// `token_dim` is the width of a layer's keys, all heads together, and `num_attention_heads` the number of
/// heads that keys have.
///
/// Other fields of a file are kept and written again as they were.
///
/// ```
/// use burn_peft::PrefixConfig;
///
/// let config = PrefixConfig::new(20).with_model_size(12, 12, 768);
/// config.validate()?;
/// assert_eq!(config.width()?, 12 * 2 * 768);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PrefixConfig {
    /// Virtual positions before the input.
    pub num_virtual_tokens: usize,
    /// Width of the keys of a layer.
    pub token_dim: Option<usize>,
    /// Parts of the model that have the prefix. If it is not given, PEFT takes 2 for encoder-decoders and 1
    /// for other models.
    pub num_transformer_submodules: Option<usize>,
    /// Heads of keys and values.
    pub num_attention_heads: Option<usize>,
    /// Layers of the model.
    pub num_layers: Option<usize>,
    /// Width inside of the projection; `None` is that of the keys.
    pub encoder_hidden_size: Option<usize>,
    /// Whether two linear layers make the prefix out of a table. A folder has what they make.
    pub prefix_projection: bool,
    /// First values: random (`None`) or `zero`.
    pub init_weights: Option<String>,
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
    PrefixConfig("PREFIX_TUNING"):
    num_virtual_tokens,
    token_dim,
    num_transformer_submodules,
    num_attention_heads,
    num_layers,
    encoder_hidden_size,
    prefix_projection,
    init_weights,
    modules_to_save,
    task_type,
    inference_mode,
    base_model_name_or_path,
    revision,
    peft_version,
);

impl PrefixConfig {
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
            encoder_hidden_size: None,
            prefix_projection: false,
            init_weights: None,
            modules_to_save: None,
            task_type: None,
            inference_mode: false,
            base_model_name_or_path: None,
            revision: None,
            peft_version: None,
            fields: Fields::default(),
        }
    }

    /// Prefix tuning has no tensors of layers under keys of their own.
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
        ])?;
        if let Some(init) = &self.init_weights
            && init != "zero"
        {
            return refuse(
                "init_weights",
                format!("\"{init}\""),
                "expected null or \"zero\"",
            );
        }
        if let (Some(width), Some(heads)) = (self.token_dim, self.num_attention_heads)
            && !width.is_multiple_of(heads)
        {
            let expected = "expected a multiple of num_attention_heads";
            return refuse("token_dim", width, expected);
        }
        let saved = self.modules_to_save.as_ref();
        not_too_many("modules_to_save", saved.map_or(0, Vec::len))?;
        Ok(())
    }

    /// The width of the stored table: keys and values of all layers.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] without `token_dim` and `num_layers`, and for a product that no table can have.
    pub fn width(&self) -> Result<usize, Error> {
        let needed = |field, value: Option<usize>| {
            value.ok_or_else(|| Error::Config {
                field,
                value: "null".into(),
                expected: "expected the number of the model",
            })
        };
        let keys = needed("token_dim", self.token_dim)?;
        let layers = needed("num_layers", self.num_layers)?;
        let width = layers
            .checked_mul(2)
            .and_then(|both| both.checked_mul(keys));
        width.map_or_else(
            || {
                refuse(
                    "token_dim",
                    keys,
                    "expected fewer: no table can be that wide",
                )
            },
            Ok,
        )
    }

    /// Set the layers of the model, the heads of its keys, and their width, all heads together.
    pub fn with_model_size(self, num_layers: usize, heads: usize, width: usize) -> Self {
        Self {
            num_layers: Some(num_layers),
            num_attention_heads: Some(heads),
            token_dim: Some(width),
            ..self
        }
    }

    /// Let two linear layers make the prefix, with this width inside.
    pub fn with_projection(self, width: usize) -> Self {
        Self {
            prefix_projection: true,
            encoder_hidden_size: Some(width),
            ..self
        }
    }

    /// Begin with zeros.
    pub fn with_zero_init(self) -> Self {
        Self {
            init_weights: Some("zero".into()),
            ..self
        }
    }
}

shared_setters!(PrefixConfig);
