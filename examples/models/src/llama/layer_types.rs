//! Which layers of a file see a window of the text, and which do not rotate.

use super::family::{Family, Windows};
use crate::error::Error;
use crate::fields::{check_layers, refuse, require};

const SLIDING: &str = "sliding_attention";
const FULL: &str = "full_attention";

/// The fields that decide it.
pub(super) struct LayerFields<'a> {
    /// `num_hidden_layers`.
    pub layers: usize,
    pub layer_types: Option<&'a [String]>,
    pub use_sliding_window: Option<bool>,
    /// The field, or the family's default.
    pub sliding_window: Option<usize>,
    pub max_window_layers: Option<usize>,
    pub sliding_window_pattern: Option<usize>,
    pub no_rope_layers: Option<&'a [i64]>,
    pub no_rope_layer_interval: Option<usize>,
}

impl LayerFields<'_> {
    /// Whether each layer rotates; empty if all do.
    ///
    /// In `no_rope_layers` 1 is for a layer that rotates, whatever the name says. An empty list is as
    /// none.
    pub fn rotated(&self, family: &Family) -> Result<Vec<bool>, Error> {
        if !family.no_rope_layers {
            return Ok(Vec::new());
        }
        check_layers("num_hidden_layers", self.layers)?;
        if let Some(list) = self.no_rope_layers.filter(|list| !list.is_empty()) {
            require(
                list.len() >= self.layers,
                "no_rope_layers",
                format!("{} entries", list.len()),
                format!("one for each of num_hidden_layers = {}", self.layers),
            )?;
            let list = &list[..self.layers];
            return Ok(list.iter().map(|&rotates| rotates != 0).collect());
        }
        let interval = self.no_rope_layer_interval.unwrap_or(4);
        require(
            interval > 0,
            "no_rope_layer_interval",
            interval,
            "at least 1",
        )?;
        let layers = 1..=self.layers;
        Ok(layers
            .map(|layer| !layer.is_multiple_of(interval))
            .collect())
    }

    /// Whether each layer sees a window only; empty if none does.
    pub fn sliding(&self, family: &Family, rotated: &[bool]) -> Result<Vec<bool>, Error> {
        check_layers("num_hidden_layers", self.layers)?;
        let types = self.types()?;
        let layers = 0..self.layers;
        let uses = self.use_sliding_window.unwrap_or(false);
        let sliding: Vec<bool> = match (family.windows, types) {
            (Windows::Never, types) => {
                let family = family.model_type;
                if uses {
                    let expected = format!("false for {family}");
                    return refuse("use_sliding_window", "true", expected);
                }
                let slides = types.is_some_and(|types| types.contains(&true));
                require(
                    !slides,
                    "layer_types",
                    format!("`{SLIDING}`"),
                    format!("`{FULL}` for {family}"),
                )?;
                Vec::new()
            }
            (Windows::All, types) => {
                let all = vec![self.sliding_window.is_some(); self.layers];
                require(
                    types.is_none_or(|types| types == all),
                    "layer_types",
                    "others than `sliding_window` says",
                    format!("`{SLIDING}` for all layers with a `sliding_window`, or `{FULL}`"),
                )?;
                all
            }
            (_, Some(types)) => types,
            (Windows::Later, None) => {
                let first = match self.sliding_window {
                    Some(_) if uses => self.max_window_layers.unwrap_or(28),
                    _ => self.layers,
                };
                layers.map(|layer| layer >= first).collect()
            }
            (Windows::Unrotated, None) => {
                let uses = uses && self.sliding_window.is_some();
                rotated.iter().map(|rotates| uses && !rotates).collect()
            }
            (Windows::Alternate, None) => layers.map(|layer| layer.is_multiple_of(2)).collect(),
            (Windows::Pattern, None) => {
                let pattern = self.sliding_window_pattern.unwrap_or(6);
                require(pattern > 0, "sliding_window_pattern", pattern, "at least 1")?;
                let slides = |layer: usize| !(layer + 1).is_multiple_of(pattern);
                layers.map(slides).collect()
            }
        };
        if !sliding.contains(&true) {
            return Ok(Vec::new());
        }
        let expected = format!("a number of tokens, since layers are of the type `{SLIDING}`");
        if family.windows == Windows::Later && !uses {
            return refuse("use_sliding_window", "false", "true, with sliding layers");
        }
        match self.sliding_window {
            Some(_) => Ok(sliding),
            None => refuse("sliding_window", "nothing", expected),
        }
    }

    /// Which of `layer_types` are sliding.
    fn types(&self) -> Result<Option<Vec<bool>>, Error> {
        let Some(types) = self.layer_types else {
            return Ok(None);
        };
        for kind in types {
            let known = [SLIDING, FULL].contains(&kind.as_str());
            let expected = format!("`{FULL}` or `{SLIDING}`");
            require(known, "layer_types", format!("`{kind}`"), expected)?;
        }
        require(
            types.len() == self.layers,
            "layer_types",
            format!("{} entries", types.len()),
            format!("one for each of num_hidden_layers = {}", self.layers),
        )?;
        Ok(Some(types.iter().map(|kind| kind == SLIDING).collect()))
    }
}
