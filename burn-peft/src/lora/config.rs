//! LoRA's configuration.

use super::init_weights::InitLoraWeights;
use super::token_indices::TokenIndices;
use crate::error::Error;
use crate::settings::ranges::below_one;
use crate::settings::unsupported::{self, Used};
use crate::settings::{
    Bias, FieldValue, Fields, Json, Modules, OneOrMany, Scales, TaskType, config_file,
    layer_setters, shared_setters,
};
use crate::targets::selection;

/// The configuration of LoRA, with the field names and defaults of PEFT: for the adapters of a
/// whole model ([`Peft::adapt`](crate::Peft::adapt)), for a folder, and for single layers
/// ([`linear`](Self::linear), [`embedding`](Self::embedding), [`conv2d`](Self::conv2d)).
///
/// Other fields of a file are kept and written again as they were.
///
/// ```
/// use burn_peft::LoraConfig;
/// use burn_peft::settings::{Modules, TaskType};
///
/// let config = LoraConfig::new()
///     .with_r(4)
///     .with_lora_alpha(8.0)
///     .with_target_modules(Modules::from(["query", "value"]))
///     .with_task_type(TaskType::SequenceClassification);
/// assert_eq!(config.modules_to_save, Some(vec!["classifier".into(), "score".into()]));
/// assert_eq!(config.scale_of("bert.encoder.layer.0.attention.self.query")?, 2.0);
/// config.validate()?;
/// # Ok::<(), burn_peft::Error>(())
/// ```
///
/// # Ranges
///
/// | field | range |
/// | --- | --- |
/// | `r`, values of `rank_pattern` | at least 1 |
/// | `lora_alpha`, values of `alpha_pattern` | finite and above 0 |
/// | `lora_dropout` | at least 0 and below 1 |
///
/// They hold wherever a configuration is used. PEFT itself also takes an alpha of 0 or below and a
/// dropout of 1.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoraConfig {
    /// Rank of the factors, where `rank_pattern` says nothing else.
    pub r: usize,
    /// Numerator of the scale `lora_alpha / r`, where `alpha_pattern` says nothing else.
    pub lora_alpha: f64,
    /// Probability of dropping an entry of the adapter's input (not of the base layer's).
    pub lora_dropout: f64,
    /// Scale by `alpha / √r` in place of `alpha / r` (rsLoRA, arXiv 2312.03732).
    pub use_rslora: bool,
    /// Train the lengths of the weight's columns as well (DoRA, arXiv 2402.09353).
    pub use_dora: bool,
    /// Which biases of the base model are trained.
    pub bias: Bias,
    /// The base weight is stored as `[in, out]`, as in GPT-2's `Conv1D`.
    pub fan_in_fan_out: bool,
    /// What is adapted; `None` leaves it to the kind of model, see [`default_targets`].
    ///
    /// [`default_targets`]: crate::targets::default_targets
    pub target_modules: Option<Modules>,
    /// What is not adapted, whatever `target_modules` says.
    pub exclude_modules: Option<Modules>,
    /// Layer indices to which `target_modules` (as names) is limited.
    pub layers_to_transform: Option<OneOrMany<usize>>,
    /// Name of the list of layers that `layers_to_transform` counts, such as `layers`.
    pub layers_pattern: Option<OneOrMany<String>>,
    /// Ranks of modules, by pattern, in the order in which they are tried.
    pub rank_pattern: Vec<(String, usize)>,
    /// Alphas of modules, by pattern, in the order in which they are tried.
    pub alpha_pattern: Vec<(String, f64)>,
    /// Ends of the names of modules that are trained in full and saved with the adapter.
    pub modules_to_save: Option<Vec<String>>,
    /// First values of new factors.
    pub init_lora_weights: InitLoraWeights,
    /// Tokens whose rows of an embedding table train too.
    pub trainable_token_indices: Option<TokenIndices>,
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
    LoraConfig("LORA", known: is_known):
    r,
    lora_alpha,
    lora_dropout,
    use_rslora,
    use_dora,
    bias,
    fan_in_fan_out,
    target_modules,
    exclude_modules,
    layers_to_transform,
    layers_pattern,
    rank_pattern,
    alpha_pattern,
    modules_to_save,
    init_lora_weights,
    trainable_token_indices,
    task_type,
    inference_mode,
    base_model_name_or_path,
    revision,
    peft_version,
);

/// Fields that PEFT writes and that are not typed, with their defaults.
fn untyped() -> impl Iterator<Item = (&'static str, Json)> {
    const NULL: [&str; 7] = [
        "alora_invocation_tokens",
        "arrow_config",
        "corda_config",
        "eva_config",
        "layer_replication",
        "megatron_config",
        "target_parameters",
    ];
    const FALSE: [&str; 3] = ["ensure_weight_tying", "lora_bias", "use_qalora"];
    let others = [
        ("loftq_config", Json::Object(Fields::default())),
        ("megatron_core", Json::String("megatron.core".into())),
        ("qalora_group_size", 16_usize.write()),
    ];
    let null = NULL.into_iter().map(|name| (name, Json::Null));
    let off = FALSE.into_iter().map(|name| (name, Json::Bool(false)));
    null.chain(off).chain(others)
}

/// Fields that change what an adapter computes and are not supported.
const UNSUPPORTED: [(&str, Used); 12] = [
    ("alora_invocation_tokens", Used::NotNull),
    ("arrow_config", Used::NotNull),
    ("ensure_weight_tying", Used::NotEmpty),
    ("kasa_config", Used::NotNull),
    ("layer_replication", Used::NotEmpty),
    ("lora_bias", Used::NotEmpty),
    ("megatron_config", Used::NotEmpty),
    ("monteclora_config", Used::NotNull),
    ("target_parameters", Used::NotEmpty),
    ("use_bdlora", Used::NotNull),
    ("use_qalora", Used::NotEmpty),
    ("velora_config", Used::NotNull),
];

/// Fields that change nothing in a trained adapter of a supported kind: how it was initialised, or
/// details of a field that is off.
const WITHOUT_EFFECT: [&str; 6] = [
    "corda_config",
    "eva_config",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "qalora_group_size",
];

/// Whether a field without a type has a meaning here.
fn is_known(name: &str) -> bool {
    WITHOUT_EFFECT.contains(&name) || UNSUPPORTED.iter().any(|(field, _)| *field == name)
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl LoraConfig {
    /// PEFT's defaults, with every field that PEFT 0.18 writes.
    pub fn new() -> Self {
        Self::unwritten().written(untyped())
    }

    /// PEFT's defaults for fields that a file does not have.
    fn unwritten() -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            use_rslora: false,
            use_dora: false,
            bias: Bias::None,
            fan_in_fan_out: false,
            target_modules: None,
            exclude_modules: None,
            layers_to_transform: None,
            layers_pattern: None,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            modules_to_save: None,
            init_lora_weights: InitLoraWeights::Kaiming,
            trainable_token_indices: None,
            task_type: None,
            inference_mode: false,
            base_model_name_or_path: None,
            revision: None,
            peft_version: None,
            fields: Fields::default(),
        }
    }

    /// How the names of LoRA's tensors begin.
    pub(crate) const MARKER: &'static str = "lora_";

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a value out of range and for fields that PEFT does not accept
    /// together, [`Error::Unsupported`] for a field of PEFT that is in use and not supported here.
    pub fn validate(&self) -> Result<(), Error> {
        if self.init_lora_weights.needs_more_than_the_folder() {
            return Err(Error::Unsupported {
                field: "init_lora_weights",
                value: format!("\"{}\"", self.init_lora_weights),
            });
        }
        unsupported::check(&self.fields, &UNSUPPORTED)?;
        self.selection().validate()?;
        Scales::check(
            (self.r, &self.rank_pattern),
            ("lora_alpha", self.lora_alpha, &self.alpha_pattern),
        )?;
        below_one("lora_dropout", self.lora_dropout)?;
        match &self.trainable_token_indices {
            Some(tokens) => tokens.validate(),
            None => Ok(()),
        }
    }

    /// Rank and scale of each module, with the patterns compiled.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] for a pattern that is not a regular expression.
    pub fn scales(&self) -> Result<Scales, Error> {
        Scales::new(
            (self.r, &self.rank_pattern),
            (self.lora_alpha, &self.alpha_pattern),
            self.use_rslora,
        )
    }

    /// The scale at `module`; [`scales`](Self::scales) is faster for many modules.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] for a pattern that is not a regular expression.
    pub fn scale_of(&self, module: &str) -> Result<f64, Error> {
        self.scales()?.scale_of(module)
    }
}

/// Setting fields one after another.
impl LoraConfig {
    /// Set the rank.
    pub fn with_r(self, r: usize) -> Self {
        Self { r, ..self }
    }

    /// Set the numerator of the scale.
    pub fn with_lora_alpha(self, lora_alpha: f64) -> Self {
        Self { lora_alpha, ..self }
    }

    /// Set the dropout of the adapter's input.
    pub fn with_lora_dropout(self, lora_dropout: f64) -> Self {
        Self {
            lora_dropout,
            ..self
        }
    }

    /// Scale by `alpha / √r`.
    pub fn with_use_rslora(self, use_rslora: bool) -> Self {
        Self { use_rslora, ..self }
    }

    /// Train the lengths of the weight's columns as well (DoRA).
    pub fn with_use_dora(self, use_dora: bool) -> Self {
        Self { use_dora, ..self }
    }

    /// Set which biases are trained.
    pub fn with_bias(self, bias: Bias) -> Self {
        Self { bias, ..self }
    }

    /// Train these rows of an embedding table too.
    pub fn with_trainable_token_indices(self, tokens: impl Into<TokenIndices>) -> Self {
        Self {
            trainable_token_indices: Some(tokens.into()),
            ..self
        }
    }

    /// Set the first values of new factors.
    pub fn with_init_lora_weights(self, init_lora_weights: InitLoraWeights) -> Self {
        Self {
            init_lora_weights,
            ..self
        }
    }
}

selection!(LoraConfig: target_modules, exclude_modules, layers_to_transform, layers_pattern; adapts [Linear, Embedding, Conv2d]);
layer_setters!(
    LoraConfig: target_modules,
    exclude_modules,
    layers,
    patterns,
);
shared_setters!(LoraConfig, target_modules);
