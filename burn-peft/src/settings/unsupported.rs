//! Fields of PEFT's configurations that are not typed here, and what becomes of them.

use super::json::{Fields, Json, is_unset, shown};
use crate::error::Error;

/// When a field that is not supported is in use.
#[derive(Clone, Copy)]
pub(crate) enum Used {
    /// If it is neither null, false nor empty.
    NotEmpty,
    /// If it is neither null nor false: an empty object means the defaults.
    NotNull,
}

/// Fields of every method that say nothing about what it computes.
const COMMON: [&str; 3] = ["auto_mapping", "peft_type", "runtime_config"];

/// Fail at the first of these fields that is in use.
pub(crate) fn check(fields: &Fields, unsupported: &[(&'static str, Used)]) -> Result<(), Error> {
    for (field, used) in unsupported {
        let Some(value) = fields.get(*field) else {
            continue;
        };
        let off = match used {
            Used::NotEmpty => is_unset(value),
            Used::NotNull => matches!(value, Json::Null | Json::Bool(false)),
        };
        if !off {
            let value = shown(value);
            return Err(Error::Unsupported { field, value });
        }
    }
    Ok(())
}

/// Fields that are set, and that are neither `known` nor of every method.
pub(crate) fn unknown(fields: &Fields, known: impl Fn(&str) -> bool) -> Vec<String> {
    let members = fields.iter();
    let unknown = members.filter(|(name, value)| {
        !(known(name) || COMMON.contains(&name.as_str()) || is_unset(value))
    });
    unknown.map(|(name, _)| name.to_string()).collect()
}
