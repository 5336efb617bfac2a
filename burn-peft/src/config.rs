//! `adapter_config.json` of Hugging Face PEFT, versions 0.13 to 0.21.
//!
//! The fields that decide what an adapter computes are typed, under PEFT's names. Everything else
//! in a file is kept, in order, and written again as it was. A field of PEFT that is in use and
//! that this crate cannot honour is an error; a field that nobody here knows is reported by
//! [`PeftConfig::unknown_fields`].

mod choice;
mod field;
mod init;
pub(crate) mod json;
mod lora;
mod modules;
pub(crate) mod pattern;
mod prompt;
mod rank;
mod support;
pub(crate) mod version;

pub use choice::{Bias, PromptInit, TaskType};
pub use field::OneOrMany;
pub use init::InitLoraWeights;
pub use lora::LoraSettings;
pub use modules::Modules;
pub use prompt::PromptSettings;
pub use rank::Scales;

use serde_json::Value;

use crate::error::Error;
use json::{Fields, Json};

const FILE: &str = "adapter_config.json";

/// The configuration of an adapter folder.
///
/// ```
/// use burn_peft::config::{LoraSettings, PeftConfig};
///
/// let text = r#"{"peft_type": "LORA", "r": 4, "target_modules": ["q", "v"], "new_field": 1}"#;
/// let config = PeftConfig::parse(text.as_bytes())?;
/// assert_eq!(config.unknown_fields(), ["new_field"]);
/// let PeftConfig::Lora(settings) = &config else {
///     panic!("another method");
/// };
/// assert_eq!((settings.r, settings.lora_alpha), (4, 8.0));
/// assert_eq!(PeftConfig::parse(config.to_json()?.as_bytes())?, config);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
// One lives per adapter: the difference in size does not matter.
#[allow(clippy::large_enum_variant)]
pub enum PeftConfig {
    /// `LORA`
    Lora(LoraSettings),
    /// `PROMPT_TUNING`
    PromptTuning(PromptSettings),
}

impl PeftConfig {
    /// Read the text of `adapter_config.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] for what is no JSON object or has a key twice, [`Error::PeftType`] for
    /// another method, [`Error::Config`] for a value of the wrong type or out of range,
    /// [`Error::Unsupported`] for a field of PEFT that is in use and not supported.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let Json::Object(fields) = Json::parse(FILE, text)? else {
            return Err(Error::Json {
                file: FILE,
                message: "expected an object".into(),
            });
        };
        match fields.get("peft_type") {
            Some(Json::String(name)) if name == "LORA" => {
                LoraSettings::from_fields(fields).map(Self::Lora)
            }
            Some(Json::String(name)) if name == "PROMPT_TUNING" => {
                PromptSettings::from_fields(fields).map(Self::PromptTuning)
            }
            other => Err(Error::PeftType {
                peft_type: other.map_or("missing".into(), Json::shown),
            }),
        }
    }

    /// The text of `adapter_config.json`: the fields of the file that was read, in its order, with
    /// every value that was changed since.
    ///
    /// # Errors
    ///
    /// What [`validate`](Self::validate) finds.
    pub fn to_json(&self) -> Result<String, Error> {
        self.validate()?;
        self.fields().to_text()
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// See [`LoraSettings::validate`] and [`PromptSettings::validate`].
    pub fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Lora(settings) => settings.validate(),
            Self::PromptTuning(settings) => settings.validate(),
        }
    }

    /// Fields of the file that are set and unknown to this crate, to be reported. They are kept,
    /// and they have no effect.
    pub fn unknown_fields(&self) -> Vec<String> {
        match self {
            Self::Lora(settings) => settings.unknown_fields(),
            Self::PromptTuning(settings) => settings.unknown_fields(),
        }
    }

    /// A field as it would be written, typed or not.
    pub fn field(&self, name: &str) -> Option<Value> {
        self.fields().get(name).map(Value::from)
    }

    /// The ends of the names of modules that are trained in full.
    pub fn modules_to_save(&self) -> &[String] {
        let modules = match self {
            Self::Lora(settings) => &settings.modules_to_save,
            Self::PromptTuning(settings) => &settings.modules_to_save,
        };
        modules.as_deref().unwrap_or_default()
    }

    fn fields(&self) -> Fields {
        match self {
            Self::Lora(settings) => settings.to_fields(),
            Self::PromptTuning(settings) => settings.to_fields(),
        }
    }
}

impl From<LoraSettings> for PeftConfig {
    fn from(settings: LoraSettings) -> Self {
        Self::Lora(settings)
    }
}

impl From<PromptSettings> for PeftConfig {
    fn from(settings: PromptSettings) -> Self {
        Self::PromptTuning(settings)
    }
}

#[cfg(test)]
mod tests;
