//! Numbers of layers, compared with a folder's weights before layers are made.

use std::path::Path;

use super::checkpoint;
use crate::error::Error;
use crate::fields::require;

/// A stack of layers that a configuration promises.
pub(crate) struct Stack {
    /// The field with their number.
    pub field: &'static str,
    /// Its value.
    pub count: usize,
    /// What is in front of a layer's index in names of tensors, without the dot; one for each way to name them.
    pub names: &'static [&'static str],
}

/// Compare the stacks of a configuration with the names of the tensors in its folder.
///
/// Without this, a wrong number costs the memory of all its layers before the first missing tensor is found. A
/// folder that has no weights, or none of the layers, is left to [`load`](super::load).
pub(crate) fn check_stacks(folder: &Path, stacks: &[Stack]) -> Result<(), Error> {
    let Some(names) = checkpoint::names(folder)? else {
        return Ok(());
    };
    for stack in stacks {
        let indices = names.iter().filter_map(|name| {
            let mut ways = stack.names.iter();
            ways.find_map(|way| index(name, way))
        });
        if let Some(last) = indices.max() {
            let expected = format!("{}, the layers in the folder's weights", last + 1);
            require(stack.count == last + 1, stack.field, stack.count, expected)
                .map_err(|error| error.in_config(folder))?;
        }
    }
    Ok(())
}

/// The index of the layer that a tensor belongs to.
fn index(name: &str, stack: &str) -> Option<usize> {
    let mut rest = name;
    loop {
        let (before, after) = rest.split_once(stack)?;
        let starts = before.is_empty() || before.ends_with('.');
        let index = after.strip_prefix('.').and_then(|after| {
            let (index, _) = after.split_once('.')?;
            index
                .parse::<usize>()
                .ok()
                .filter(|index| *index < usize::MAX)
        });
        match index {
            Some(index) if starts => return Some(index),
            _ => rest = after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_found_between_dots() {
        assert_eq!(
            index("bert.encoder.layer.11.output", "encoder.layer"),
            Some(11)
        );
        assert_eq!(index("encoder.layer.0.weight", "encoder.layer"), Some(0));
        assert_eq!(index("layers.3.mlp.weight", "layers"), Some(3));
        assert_eq!(index("mylayers.3.x.layers.4.mlp", "layers"), Some(4));
        assert_eq!(index("encoder.layer.norm.weight", "encoder.layer"), None);
        assert_eq!(index("encoder.layer_norm.0.weight", "encoder.layer"), None);
        assert_eq!(index("layers.99999999999999999999.x", "layers"), None);
    }
}
