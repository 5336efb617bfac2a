//! VeRA's configuration.

use crate::error::Error;
use crate::settings::ranges::{at_least_one, below_one, refuse};
use crate::settings::{
    Bias, Fields, Modules, OneOrMany, TaskType, config_file, layer_setters, named_values,
    shared_setters,
};
use crate::targets::selection;

/// `bias` of VeRA: which biases of the base model train in addition to the adapters.
///
/// ```
/// use burn_peft::vera::VeraBias;
///
/// assert_eq!(VeraBias::VeraOnly.name(), "vera_only");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum VeraBias {
    /// None.
    #[default]
    None,
    /// Those of every layer.
    All,
    /// Those of the adapted layers.
    VeraOnly,
}

named_values!(
    VeraBias,
    "expected none, all or vera_only",
    None = "none",
    All = "all",
    VeraOnly = "vera_only",
);

impl From<VeraBias> for Bias {
    fn from(bias: VeraBias) -> Self {
        match bias {
            VeraBias::None => Self::None,
            VeraBias::All => Self::All,
            VeraBias::VeraOnly => Self::LoraOnly,
        }
    }
}

/// The configuration of VeRA, with the field names and defaults of PEFT.
///
/// All adapters share two random matrices that do not train. They are drawn from
/// `projection_prng_key` as PyTorch draws them, so that the same key gives the same matrices as in
/// PEFT. Targets are linear layers.
///
/// Other fields of a file are kept and written again as they were.
///
/// ```
/// use burn_peft::VeraConfig;
///
/// let config = VeraConfig::new()
///     .with_r(64)
///     .with_target_modules(["query", "value"]);
/// config.validate()?;
/// assert!(config.with_r(0).validate().is_err());
/// # Ok::<(), burn_peft::Error>(())
/// ```
///
/// # Ranges
///
/// | field | range |
/// | --- | --- |
/// | `r` | at least 1 |
/// | `vera_dropout` | at least 0 and below 1 |
/// | `d_initial` | finite |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VeraConfig {
    /// Rank of the shared matrices.
    pub r: usize,
    /// What is adapted; `None` is for folders that leave it to the kind of model.
    pub target_modules: Option<Modules>,
    /// Seed of the shared matrices.
    pub projection_prng_key: usize,
    /// Whether a folder holds the shared matrices. Without them they are drawn again when it is loaded.
    pub save_projection: bool,
    /// Probability of dropping an entry of the adapter's input (not of the base layer's).
    pub vera_dropout: f64,
    /// First value of the scales d of the rank.
    pub d_initial: f64,
    /// The base weight is stored as `[in, out]`, as in GPT-2's `Conv1D`.
    pub fan_in_fan_out: bool,
    /// Which biases of the base model are trained.
    pub bias: VeraBias,
    /// Ends of the names of modules that are trained in full and saved with the adapter.
    pub modules_to_save: Option<Vec<String>>,
    /// New adapters change nothing (`true`), or begin with random scales.
    pub init_weights: bool,
    /// Layer indices to which `target_modules` (as names) is limited.
    pub layers_to_transform: Option<OneOrMany<usize>>,
    /// Name of the list of layers that `layers_to_transform` counts, such as `layers`.
    pub layers_pattern: Option<OneOrMany<String>>,
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
    VeraConfig("VERA"):
    r,
    target_modules,
    projection_prng_key,
    save_projection,
    vera_dropout,
    d_initial,
    fan_in_fan_out,
    bias,
    modules_to_save,
    init_weights,
    layers_to_transform,
    layers_pattern,
    task_type,
    inference_mode,
    base_model_name_or_path,
    revision,
    peft_version,
);

impl Default for VeraConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl VeraConfig {
    /// How the names of VeRA's tensors begin.
    pub(crate) const MARKER: &'static str = "vera_lambda_";

    /// PEFT's defaults, with every field that PEFT 0.18 writes.
    pub fn new() -> Self {
        Self::unwritten().written([])
    }

    /// PEFT's defaults for fields that a file does not have.
    fn unwritten() -> Self {
        Self {
            r: 256,
            target_modules: None,
            projection_prng_key: 0,
            save_projection: true,
            vera_dropout: 0.0,
            d_initial: 0.1,
            fan_in_fan_out: false,
            bias: VeraBias::None,
            modules_to_save: None,
            init_weights: true,
            layers_to_transform: None,
            layers_pattern: None,
            task_type: None,
            inference_mode: false,
            base_model_name_or_path: None,
            revision: None,
            peft_version: None,
            fields: Fields::default(),
        }
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a value out of range and for fields that PEFT does not accept together.
    pub fn validate(&self) -> Result<(), Error> {
        self.selection().validate()?;
        at_least_one("r", self.r)?;
        below_one("vera_dropout", self.vera_dropout)?;
        if !self.d_initial.is_finite() {
            return refuse("d_initial", self.d_initial, "expected a finite number");
        }
        Ok(())
    }

    /// Set the rank of the shared matrices.
    pub fn with_r(self, r: usize) -> Self {
        Self { r, ..self }
    }

    /// Set the seed of the shared matrices.
    pub fn with_projection_prng_key(self, projection_prng_key: usize) -> Self {
        Self {
            projection_prng_key,
            ..self
        }
    }

    /// Set whether folders hold the shared matrices.
    pub fn with_save_projection(self, save_projection: bool) -> Self {
        Self {
            save_projection,
            ..self
        }
    }

    /// Set the dropout of the adapter's input.
    pub fn with_vera_dropout(self, vera_dropout: f64) -> Self {
        Self {
            vera_dropout,
            ..self
        }
    }

    /// Set the first value of the scales d.
    pub fn with_d_initial(self, d_initial: f64) -> Self {
        Self { d_initial, ..self }
    }

    /// Set which biases are trained.
    pub fn with_bias(self, bias: VeraBias) -> Self {
        Self { bias, ..self }
    }

    /// Set whether new adapters change nothing.
    pub fn with_init_weights(self, init_weights: bool) -> Self {
        Self {
            init_weights,
            ..self
        }
    }
}

selection!(VeraConfig: target_modules, layers_to_transform, layers_pattern; adapts [Linear]);
layer_setters!(VeraConfig: target_modules, layers);
shared_setters!(VeraConfig, target_modules);
