//! LoHa's configuration.

use crate::error::Error;
use crate::settings::ranges::below_one;
use crate::settings::{
    Fields, Modules, OneOrMany, Scales, TaskType, config_file, layer_setters, shared_setters,
};
use crate::targets::selection;

/// The configuration of LoHa, with the field names and defaults of PEFT. Targets are linear layers.
///
/// Other fields of a file are kept and written again as they were.
///
/// ```
/// use burn_peft::LohaConfig;
///
/// let config = LohaConfig::new()
///     .with_r(4)
///     .with_alpha(8.0)
///     .with_target_modules(["query", "value"]);
/// assert_eq!(config.scales()?.scale_of("layer.0.query")?, 2.0);
/// config.validate()?;
/// # Ok::<(), burn_peft::Error>(())
/// ```
///
/// # Ranges
///
/// | field | range |
/// | --- | --- |
/// | `r`, values of `rank_pattern` | at least 1 |
/// | `alpha`, values of `alpha_pattern` | finite and above 0 |
/// | `rank_dropout`, `module_dropout` | at least 0 and below 1 |
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LohaConfig {
    /// Rank of the two products, where `rank_pattern` says nothing else.
    pub r: usize,
    /// Numerator of the scale `alpha / r`, where `alpha_pattern` says nothing else.
    pub alpha: f64,
    /// Probability of dropping a column of what is added, in training.
    pub rank_dropout: f64,
    /// Probability of dropping all that is added to a layer, in training.
    pub module_dropout: f64,
    /// Another decomposition for convolutions. It makes no difference to linear layers.
    pub use_effective_conv2d: bool,
    /// What is adapted; `None` is for folders that leave it to the kind of model.
    pub target_modules: Option<Modules>,
    /// What is not adapted, whatever `target_modules` says.
    pub exclude_modules: Option<Modules>,
    /// New adapters change nothing (`true`), or begin with random values.
    pub init_weights: bool,
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
    LohaConfig("LOHA"):
    r,
    alpha,
    rank_dropout,
    module_dropout,
    use_effective_conv2d,
    target_modules,
    exclude_modules,
    init_weights,
    layers_to_transform,
    layers_pattern,
    rank_pattern,
    alpha_pattern,
    modules_to_save,
    task_type,
    inference_mode,
    base_model_name_or_path,
    revision,
    peft_version,
);

impl Default for LohaConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl LohaConfig {
    /// How the names of LoHa's tensors begin.
    pub(crate) const MARKER: &'static str = "hada_";

    /// PEFT's defaults, with every field that PEFT 0.18 writes.
    pub fn new() -> Self {
        Self::unwritten().written([])
    }

    /// PEFT's defaults for fields that a file does not have.
    fn unwritten() -> Self {
        Self {
            r: 8,
            alpha: 8.0,
            rank_dropout: 0.0,
            module_dropout: 0.0,
            use_effective_conv2d: false,
            target_modules: None,
            exclude_modules: None,
            init_weights: true,
            layers_to_transform: None,
            layers_pattern: None,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            modules_to_save: None,
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
        Scales::check(
            (self.r, &self.rank_pattern),
            ("alpha", self.alpha, &self.alpha_pattern),
        )?;
        below_one("rank_dropout", self.rank_dropout)?;
        below_one("module_dropout", self.module_dropout)
    }

    /// Rank and scale of each module, with the patterns compiled.
    ///
    /// # Errors
    ///
    /// [`Error::Pattern`] for a pattern that is not a regular expression.
    pub fn scales(&self) -> Result<Scales, Error> {
        Scales::new(
            (self.r, &self.rank_pattern),
            (self.alpha, &self.alpha_pattern),
            false,
        )
    }

    /// Set the rank.
    pub fn with_r(self, r: usize) -> Self {
        Self { r, ..self }
    }

    /// Set the numerator of the scale.
    pub fn with_alpha(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    /// Set the probability of dropping a column of what is added.
    pub fn with_rank_dropout(self, rank_dropout: f64) -> Self {
        Self {
            rank_dropout,
            ..self
        }
    }

    /// Set the probability of dropping all that is added to a layer.
    pub fn with_module_dropout(self, module_dropout: f64) -> Self {
        Self {
            module_dropout,
            ..self
        }
    }

    /// Set whether new adapters change nothing.
    pub fn with_init_weights(self, init_weights: bool) -> Self {
        Self {
            init_weights,
            ..self
        }
    }
}

selection!(LohaConfig: target_modules, exclude_modules, layers_to_transform, layers_pattern; adapts [Linear]);
layer_setters!(
    LohaConfig: target_modules,
    exclude_modules,
    layers,
    patterns,
);
shared_setters!(LohaConfig, target_modules);
