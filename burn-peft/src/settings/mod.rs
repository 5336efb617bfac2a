//! What the configurations of all methods share: the JSON of `adapter_config.json`, typed fields,
//! ranges, and the rules that depend on the version of PEFT.

mod bias;
mod config_file;
mod field;
pub(crate) mod json;
mod layer_rule;
mod layer_setters;
mod module_names;
mod one_or_many;
mod pattern;
mod plain_names;
pub(crate) mod ranges;
mod scales;
mod shared_setters;
mod task_type;
pub(crate) mod unsupported;
mod virtual_tokens;

pub use bias::Bias;
pub use module_names::Modules;
pub use one_or_many::OneOrMany;
pub use scales::Scales;
pub use task_type::TaskType;

pub(crate) use config_file::{ConfigFile, config_file, sorted};
pub(crate) use field::{FieldValue, named_values, read_field};
pub(crate) use json::{Fields, Json};
pub(crate) use layer_rule::LayerRule;
pub(crate) use layer_setters::{layer_setter, layer_setters};
pub(crate) use pattern::Pattern;
pub(crate) use plain_names::PlainNames;
pub(crate) use shared_setters::{SharedFields, shared_setters};
pub(crate) use virtual_tokens::{rows, virtual_tokens};

/// The version of PEFT whose fields a new configuration has.
pub(crate) const WRITTEN_AS: &str = "0.18.1";
