//! Fields of PEFT's configurations that are not typed here, and what becomes of them.

use super::json::{Fields, Json};
use super::lora::LoraSettings;
use crate::error::Error;

/// When a field that is not supported is in use.
enum Used {
    /// If it is neither null, false nor empty.
    NotEmpty,
    /// If it is neither null nor false: an empty object stands for the defaults.
    NotNull,
}

/// Fields of LoRA that change what an adapter computes and are not supported.
const UNSUPPORTED: [(&str, Used); 13] = [
    ("alora_invocation_tokens", Used::NotNull),
    ("arrow_config", Used::NotNull),
    ("ensure_weight_tying", Used::NotEmpty),
    ("kasa_config", Used::NotNull),
    ("layer_replication", Used::NotEmpty),
    ("lora_bias", Used::NotEmpty),
    ("megatron_config", Used::NotEmpty),
    ("monteclora_config", Used::NotNull),
    ("target_parameters", Used::NotEmpty),
    ("trainable_token_indices", Used::NotNull),
    ("use_bdlora", Used::NotNull),
    ("use_qalora", Used::NotEmpty),
    ("velora_config", Used::NotNull),
];

/// Fields of LoRA that change nothing in a trained adapter of a supported kind: how it was
/// initialised, or details of a field that is off.
const WITHOUT_EFFECT: [&str; 6] = [
    "corda_config",
    "eva_config",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "qalora_group_size",
];

/// Fields of every method that say nothing about what it computes.
const COMMON: [&str; 3] = ["auto_mapping", "peft_type", "runtime_config"];

/// Fail at the first field that is in use and not supported.
pub(crate) fn check_lora(settings: &LoraSettings, fields: &Fields) -> Result<(), Error> {
    if settings.init_lora_weights.needs_more_than_the_folder() {
        return Err(Error::Unsupported {
            field: "init_lora_weights",
            value: format!("\"{}\"", settings.init_lora_weights),
        });
    }
    for (field, used) in UNSUPPORTED {
        let Some(value) = fields.get(field) else {
            continue;
        };
        let off = match used {
            Used::NotEmpty => value.is_unset(),
            Used::NotNull => matches!(value, Json::Null | Json::Bool(false)),
        };
        if !off {
            let value = value.shown();
            return Err(Error::Unsupported { field, value });
        }
    }
    Ok(())
}

/// Fields that are set and that nobody here knows.
pub(crate) fn unknown(fields: &Fields, known: impl Fn(&str) -> bool) -> Vec<String> {
    let members = fields.iter();
    let unknown = members.filter(|(name, value)| !(known(name) || value.is_unset()));
    unknown.map(|(name, _)| name.to_string()).collect()
}

/// Whether the field is one of LoRA's that are not typed.
pub(crate) fn known_lora(name: &str) -> bool {
    known_common(name)
        || WITHOUT_EFFECT.contains(&name)
        || UNSUPPORTED.iter().any(|(field, _)| *field == name)
}

/// Whether the field is one of every method's that are not typed.
pub(crate) fn known_common(name: &str) -> bool {
    COMMON.contains(&name)
}
