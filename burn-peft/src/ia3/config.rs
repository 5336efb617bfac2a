//! IA³'s configuration.

use crate::error::Error;
use crate::settings::ranges::{not_too_many, refuse};
use crate::settings::{Fields, Modules, TaskType, config_file, layer_setters, shared_setters};
use crate::targets::selection;

/// The configuration of IA³, with the field names and defaults of PEFT.
///
/// Each target gets one vector of scales: of its inputs for modules in `feedforward_modules`, of its
/// outputs (bias included) for the others. Targets are linear layers and convolutions.
///
/// Other fields of a file are kept and written again as they were.
///
/// ```
/// use burn_peft::Ia3Config;
///
/// let config = Ia3Config::new()
///     .with_target_modules(["k_proj", "v_proj", "down_proj"])
///     .with_feedforward_modules(["down_proj"]);
/// config.validate()?;
/// // Feed-forward modules are targets.
/// assert!(config.with_feedforward_modules(["fc"]).validate().is_err());
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Ia3Config {
    /// What is adapted; `None` leaves it to the kind of model, see [`default_ia3_targets`].
    pub target_modules: Option<Modules>,
    /// What is not adapted, whatever `target_modules` says.
    pub exclude_modules: Option<Modules>,
    /// The targets whose inputs are scaled instead of their outputs: names are ends of module names
    /// with or without a dot before them, a text is a regular expression for whole names. `None`
    /// leaves it to the kind of model, see [`default_feedforward_modules`].
    pub feedforward_modules: Option<Modules>,
    /// The base weight is stored as `[in, out]`, as in GPT-2's `Conv1D`. It makes no difference to
    /// the vectors.
    pub fan_in_fan_out: bool,
    /// Ends of the names of modules that are trained in full and saved with the adapter.
    pub modules_to_save: Option<Vec<String>>,
    /// New vectors are ones (`true`), which leaves the output as it is, or standard normal.
    pub init_ia3_weights: bool,
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
    Ia3Config("IA3"):
    target_modules,
    exclude_modules,
    feedforward_modules,
    fan_in_fan_out,
    modules_to_save,
    init_ia3_weights,
    task_type,
    inference_mode,
    base_model_name_or_path,
    revision,
    peft_version,
);

impl Default for Ia3Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Ia3Config {
    /// How the names of IA³'s tensors begin.
    pub(crate) const MARKER: &'static str = "ia3_";

    /// PEFT's defaults, with every field that PEFT 0.18 writes.
    pub fn new() -> Self {
        Self::unwritten().written([])
    }

    /// PEFT's defaults for fields that a file does not have.
    fn unwritten() -> Self {
        Self {
            target_modules: None,
            exclude_modules: None,
            feedforward_modules: None,
            fan_in_fan_out: false,
            modules_to_save: None,
            init_ia3_weights: true,
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
    /// [`Error::Config`] if a name in `feedforward_modules` is not in `target_modules`, and for a list
    /// that is too long.
    pub fn validate(&self) -> Result<(), Error> {
        self.selection().validate()?;
        let feedforward = self.feedforward_modules.as_ref();
        not_too_many("feedforward_modules", feedforward.map_or(0, Modules::count))?;
        if let (Some(Modules::Names(feedforward)), Some(Modules::Names(targets))) =
            (feedforward, &self.target_modules)
            && let Some(name) = feedforward.iter().find(|name| !targets.contains(name))
        {
            return refuse(
                "feedforward_modules",
                format!("\"{name}\""),
                "expected names that are in target_modules too",
            );
        }
        Ok(())
    }

    /// Set the targets whose inputs are scaled.
    pub fn with_feedforward_modules(self, modules: impl Into<Modules>) -> Self {
        Self {
            feedforward_modules: Some(modules.into()),
            ..self
        }
    }

    /// Set whether new vectors are ones.
    pub fn with_init_ia3_weights(self, init_ia3_weights: bool) -> Self {
        Self {
            init_ia3_weights,
            ..self
        }
    }
}

/// The `target_modules` that PEFT takes for IA³ on a kind of model (`model_type` in the base model's
/// `config.json`) if none are given; `None` for a kind that is not known here.
///
/// ```
/// use burn_peft::ia3::{default_feedforward_modules, default_ia3_targets};
///
/// assert_eq!(default_ia3_targets("llama"), Some(["k_proj", "v_proj", "down_proj"].as_slice()));
/// assert_eq!(default_feedforward_modules("llama"), Some(["down_proj"].as_slice()));
/// ```
pub fn default_ia3_targets(model_type: &str) -> Option<&'static [&'static str]> {
    match model_type {
        "t5" => Some(&["k", "v", "wo"]),
        "mt5" => Some(&["k", "v", "wi_1"]),
        "bert" | "roberta" => Some(&["key", "value", "output.dense"]),
        "bart" => Some(&["q_proj", "v_proj", "fc2"]),
        "opt" => Some(&["q_proj", "k_proj", "fc2"]),
        "llama" | "mistral" => Some(&["k_proj", "v_proj", "down_proj"]),
        "llama4" | "gemma" | "gemma2" | "gemma3_text" | "qwen2" | "qwen3" => {
            Some(&["q_proj", "v_proj", "down_proj"])
        }
        "mixtral" => Some(&["k_proj", "v_proj", "w2"]),
        "gpt2" => Some(&["c_attn", "mlp.c_proj"]),
        "gpt_neox" | "falcon" => Some(&["query_key_value", "dense_4h_to_h"]),
        "bloom" => Some(&["query_key_value", "mlp.dense_4h_to_h"]),
        _ => None,
    }
}

/// The `feedforward_modules` that PEFT takes for a kind of model if none are given; `None` for a
/// kind that is not known here. See [`default_ia3_targets`].
pub fn default_feedforward_modules(model_type: &str) -> Option<&'static [&'static str]> {
    match model_type {
        "mt5" => Some(&[]),
        _ => {
            let targets = default_ia3_targets(model_type)?;
            // The last one, for every kind in the table.
            Some(&targets[targets.len() - 1..])
        }
    }
}

selection!(Ia3Config: target_modules, exclude_modules; adapts [Linear, Conv2d]);
layer_setters!(Ia3Config: target_modules, exclude_modules);
shared_setters!(Ia3Config, target_modules);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feedforward_modules_are_targets() {
        let config = Ia3Config::new().with_target_modules(["k", "wo"]);
        assert_eq!(
            config.clone().with_feedforward_modules(["wo"]).validate(),
            Ok(())
        );
        let Err(Error::Config { field, value, .. }) =
            config.clone().with_feedforward_modules(["wi"]).validate()
        else {
            panic!("it was accepted");
        };
        assert_eq!((field, value.as_str()), ("feedforward_modules", "\"wi\""));
        // PEFT compares lists only.
        let pattern = config.with_feedforward_modules(Modules::pattern(".*wi"));
        assert_eq!(pattern.validate(), Ok(()));
    }
}
