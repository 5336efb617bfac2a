//! `layers_to_transform` and `layers_pattern`.

use super::ranges::refuse;
use super::{Modules, OneOrMany};
use crate::error::Error;

/// They belong to a list of target modules, and the pattern to a list of layers.
pub(crate) fn check_layers(
    target_modules: Option<&Modules>,
    layers_to_transform: Option<&OneOrMany<usize>>,
    layers_pattern: Option<&OneOrMany<String>>,
) -> Result<(), Error> {
    let limited = layers_to_transform.is_some();
    if matches!(target_modules, Some(Modules::Pattern(_))) {
        let expected = "expected null where target_modules is a text";
        if limited {
            return refuse("layers_to_transform", "set", expected);
        }
        if layers_pattern.is_some() {
            return refuse("layers_pattern", "set", expected);
        }
    }
    if !limited && layers_pattern.is_some_and(|OneOrMany(patterns)| !patterns.is_empty()) {
        let expected = "expected null where layers_to_transform is null";
        return refuse("layers_pattern", "set", expected);
    }
    Ok(())
}
