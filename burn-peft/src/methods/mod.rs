//! The table of methods.
//!
//! Everything else in this crate goes over this table: the configuration of a folder
//! ([`PeftConfig`]), its keys, and the forward passes of layers with adapters.

mod forward;
mod peft_config;

pub use forward::{tied_vocabulary_head, unembed_adapted, vocabulary_head};

use crate::error::Error;
use crate::ia3::Ia3Config;
use crate::loha::LohaConfig;
use crate::lokr::LokrConfig;
use crate::lora::LoraConfig;
use crate::p_tuning::PTuningConfig;
use crate::prefix::PrefixConfig;
use crate::prompt::PromptConfig;
use crate::settings::{Fields, SharedFields};
use crate::tuner::Tuner;
use crate::vera::VeraConfig;

/// The enumeration of configurations and what is dispatched over it.
macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident($config:ty)),+ $(,)?) => {
        /// The configuration of an adapter folder.
        ///
        /// ```
        /// use burn_peft::PeftConfig;
        ///
        /// let text = r#"{"peft_type": "LORA", "r": 4, "target_modules": ["q", "v"], "new_field": 1}"#;
        /// let config = PeftConfig::parse(text.as_bytes())?;
        /// assert_eq!(config.unknown_fields(), ["new_field"]);
        /// let PeftConfig::Lora(lora) = &config else {
        ///     panic!("another method");
        /// };
        /// assert_eq!((lora.r, lora.lora_alpha), (4, 8.0));
        /// assert_eq!(PeftConfig::parse(config.to_json()?.as_bytes())?, config);
        /// # Ok::<(), burn_peft::Error>(())
        /// ```
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        // A program holds one per adapter: the difference in size does not matter.
        #[allow(clippy::large_enum_variant)]
        pub enum PeftConfig {
            $($(#[$doc])* $variant($config),)+
        }

        impl PeftConfig {
            /// The methods, as `peft_type` names them.
            pub const METHODS: &[&str] = &[$(<$config>::PEFT_TYPE),+];

            /// The method of this configuration.
            pub(crate) fn tuner(&self) -> &dyn Tuner {
                match self {
                    $(Self::$variant(config) => config,)+
                }
            }

            /// The fields that all methods share.
            fn shared_fields(&mut self) -> &mut dyn SharedFields {
                match self {
                    $(Self::$variant(config) => config,)+
                }
            }

            /// The configuration of a method by name; `None` for a name that is not in the table.
            fn of_method(name: &str, fields: Fields) -> Option<Result<Self, Error>> {
                $(if name == <$config>::PEFT_TYPE {
                    return Some(<$config>::from_fields(fields).map(Self::$variant));
                })+
                None
            }

            /// How the parts of an adapted layer begin in each method.
            pub(crate) fn markers() -> impl Iterator<Item = &'static str> {
                [$(<$config>::MARKER),+].into_iter().filter(|marker| !marker.is_empty())
            }
        }

        $(
            impl From<$config> for PeftConfig {
                fn from(config: $config) -> Self {
                    Self::$variant(config)
                }
            }

            impl From<&$config> for PeftConfig {
                fn from(config: &$config) -> Self {
                    Self::$variant(config.clone())
                }
            }
        )+

        impl From<&PeftConfig> for PeftConfig {
            fn from(config: &PeftConfig) -> Self {
                config.clone()
            }
        }

        forward::layers!($($config),+);
    };
}

// One line for each method.
methods! {
    /// LoRA, rsLoRA and DoRA.
    Lora(LoraConfig),
    /// Prompt tuning.
    PromptTuning(PromptConfig),
    /// P-tuning.
    PTuning(PTuningConfig),
    /// Prefix tuning.
    Prefix(PrefixConfig),
    /// IA³.
    Ia3(Ia3Config),
    /// VeRA.
    Vera(VeraConfig),
    /// LoHa.
    Loha(LohaConfig),
    /// LoKr.
    Lokr(LokrConfig),
}

#[cfg(test)]
mod config_tests;
#[cfg(test)]
mod target_tests;
