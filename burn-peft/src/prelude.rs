//! What most programs with adapters need, in one import.
//!
//! ```
//! use burn_peft::prelude::*;
//!
//! let config = LoraConfig::new().with_r(4).with_target_modules(["query", "value"]);
//! assert_eq!(config.validate(), Ok(()));
//! ```

pub use crate::adapters::ForwardAdapted;
pub use crate::folder::AdapterFolder;
pub use crate::ia3::Ia3Config;
pub use crate::lora::LoraConfig;
pub use crate::methods::{PeftConfig, unembed_adapted};
pub use crate::model::Peft;
pub use crate::name_map::NameMap;
pub use crate::prompt::{PromptConfig, SoftPrompt};
pub use crate::settings::TaskType;
