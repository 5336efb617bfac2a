//! Which modules of a model a method adapts, by PEFT's rules.
//!
//! Names are those of `transformers` (see [`NameMap`](crate::NameMap)). The rules are those of
//! PEFT 0.16 and later; where the meaning of `layers_to_transform` changed, the version that wrote
//! the configuration decides. [`PeftConfig::targets`](crate::PeftConfig::targets) applies them.

mod near_names;
mod output_head;
mod resolve;
mod rules;
mod saved_modules;
mod selection;
mod target;

pub(crate) use output_head::is_language_head;
pub use output_head::{default_targets, output_head};
pub(crate) use saved_modules::is_under_saved;
pub use saved_modules::modules_to_save;
pub(crate) use selection::{Selection, selection};
pub use target::{ModuleKind, Target};
