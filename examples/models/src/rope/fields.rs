//! The entries of `rope_scaling` and `rope_parameters` in a `config.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::RopeScaling;
use crate::error::Error;
use crate::fields::refuse;

const KINDS: &str = "default, linear, dynamic, yarn, longrope or llama3";

/// One of the two objects, or the part of it for one kind of layers.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RopeFields {
    rope_type: Option<String>,
    /// The older name of `rope_type`.
    r#type: Option<String>,
    pub rope_theta: Option<f64>,
    pub partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    attention_factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    original_max_position_embeddings: Option<f64>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Lengths of texts that are given next to the objects.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// `max_position_embeddings`.
    pub longest: Option<f64>,
    /// `original_max_position_embeddings`, which goes before the one in the object.
    pub first: Option<f64>,
}

impl RopeFields {
    /// Whether the object has no entry at all.
    pub fn is_empty(&self) -> bool {
        let numbers = [
            self.rope_theta,
            self.partial_rotary_factor,
            self.factor,
            self.attention_factor,
            self.low_freq_factor,
            self.high_freq_factor,
            self.beta_fast,
            self.beta_slow,
            self.mscale,
            self.mscale_all_dim,
            self.original_max_position_embeddings,
        ];
        numbers.iter().all(Option::is_none)
            && self.rope_type.is_none()
            && self.r#type.is_none()
            && self.truncate.is_none()
            && self.short_factor.is_none()
            && self.long_factor.is_none()
            && self.others.is_empty()
    }

    /// Parts by the type of a layer, as `transformers` 5 writes them for models whose layers differ.
    pub fn of_layers(&self, kind: &str) -> Result<Option<Self>, Error> {
        let part = self.others.get(kind).filter(|part| !part.is_null());
        part.map_or(Ok(None), |part| {
            match serde_json::from_value(part.clone()) {
                Ok(part) => Ok(Some(part)),
                Err(error) => refuse(
                    "rope_parameters",
                    format!("`{kind}`: {part}"),
                    format!("an object of numbers ({error})"),
                ),
            }
        })
    }

    /// Whether something is given for all layers alike.
    pub fn is_flat(&self) -> bool {
        let without = Self {
            others: BTreeMap::new(),
            ..self.clone()
        };
        !without.is_empty()
    }

    /// The same with what `over` states in the place of what is here.
    pub fn updated(self, over: &Self) -> Self {
        let of = |here: Option<f64>, over: Option<f64>| over.or(here);
        let over = over.clone();
        // The older name counts where the new one is absent, so that an old kind must not hide.
        let kind = over.rope_type.or(over.r#type);
        Self {
            rope_type: kind.or(self.rope_type).or(self.r#type),
            r#type: None,
            rope_theta: of(self.rope_theta, over.rope_theta),
            partial_rotary_factor: of(self.partial_rotary_factor, over.partial_rotary_factor),
            factor: of(self.factor, over.factor),
            attention_factor: of(self.attention_factor, over.attention_factor),
            low_freq_factor: of(self.low_freq_factor, over.low_freq_factor),
            high_freq_factor: of(self.high_freq_factor, over.high_freq_factor),
            beta_fast: of(self.beta_fast, over.beta_fast),
            beta_slow: of(self.beta_slow, over.beta_slow),
            mscale: of(self.mscale, over.mscale),
            mscale_all_dim: of(self.mscale_all_dim, over.mscale_all_dim),
            truncate: over.truncate.or(self.truncate),
            short_factor: over.short_factor.or(self.short_factor),
            long_factor: over.long_factor.or(self.long_factor),
            original_max_position_embeddings: of(
                self.original_max_position_embeddings,
                over.original_max_position_embeddings,
            ),
            others: self.others.into_iter().chain(over.others).collect(),
        }
    }

    /// The scaling of these entries. `phi3` has other names of `longrope`, and no other kind.
    pub fn scaling(&self, lengths: Lengths, phi3: bool) -> Result<RopeScaling, Error> {
        // `transformers` 5 can nest parameters by the type of a layer.
        if let Some((key, _)) = self.others.iter().find(|(_, value)| value.is_object()) {
            return refuse(
                "rope_parameters",
                format!("an object `{key}`"),
                "one object for all layers",
            );
        }
        if self
            .others
            .get("mrope_section")
            .is_some_and(|x| !x.is_null())
        {
            let expected = "none: positions of pictures are not supported";
            return refuse("rope_parameters.mrope_section", "a list", expected);
        }
        let kind = match self.rope_type.as_deref().or(self.r#type.as_deref()) {
            Some("su" | "yarn") if phi3 => "longrope",
            Some(kind) => kind,
            None if self.factor.is_none() => "default",
            None => return refuse("rope_scaling.rope_type", "nothing", KINDS),
        };
        if phi3 && !["default", "longrope"].contains(&kind) {
            let expected = "default or longrope for phi3";
            return refuse("rope_scaling.rope_type", format!("`{kind}`"), expected);
        }
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear {
                factor: number("rope_scaling.factor", self.factor)?,
            }),
            "dynamic" => Ok(RopeScaling::Dynamic {
                factor: number("rope_scaling.factor", self.factor)?,
                max_position_embeddings: number("max_position_embeddings", lengths.longest)?,
            }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: number("rope_scaling.factor", self.factor)?,
                low_freq_factor: number("rope_scaling.low_freq_factor", self.low_freq_factor)?,
                high_freq_factor: number("rope_scaling.high_freq_factor", self.high_freq_factor)?,
                original_max_position_embeddings: self.first_length(lengths)?,
            }),
            "yarn" => self.yarn(lengths),
            "longrope" => self.longrope(lengths),
            other => refuse("rope_scaling.rope_type", format!("`{other}`"), KINDS),
        }
    }

    /// Tokens of a text in the first training.
    fn first_length(&self, lengths: Lengths) -> Result<f64, Error> {
        let given = lengths.first.or(self.original_max_position_embeddings);
        number(
            "rope_scaling.original_max_position_embeddings",
            given.or(lengths.longest),
        )
    }

    /// The factor, or how much longer texts are than in the first training.
    fn growth(&self, first: f64, lengths: Lengths) -> Result<f64, Error> {
        let ratio = lengths.longest.map(|longest| longest / first);
        number("rope_scaling.factor", self.factor.or(ratio))
    }

    fn yarn(&self, lengths: Lengths) -> Result<RopeScaling, Error> {
        let first = self.first_length(lengths)?;
        let factor = self.growth(first, lengths)?;
        let scale = |weight: f64| {
            if factor > 1.0 {
                0.1 * weight * factor.ln() + 1.0
            } else {
                1.0
            }
        };
        let given = |value: Option<f64>| value.filter(|&value| value != 0.0);
        let usual = match (given(self.mscale), given(self.mscale_all_dim)) {
            (Some(one), Some(all)) => scale(one) / scale(all),
            _ => scale(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            attention_factor: self.attention_factor.unwrap_or(usual),
            beta_fast: given(self.beta_fast).unwrap_or(32.0),
            beta_slow: given(self.beta_slow).unwrap_or(1.0),
            original_max_position_embeddings: first,
            truncate: self.truncate.unwrap_or(true),
        })
    }

    fn longrope(&self, lengths: Lengths) -> Result<RopeScaling, Error> {
        let list = |field, factors: &Option<Vec<f64>>| match factors {
            Some(factors) => Ok(factors.clone()),
            None => refuse(field, "nothing", "a list of numbers"),
        };
        let first = self.first_length(lengths)?;
        let attention_factor = match self.attention_factor {
            Some(factor) => factor,
            None => {
                let factor = self.growth(first, lengths)?;
                if factor > 1.0 {
                    (1.0 + factor.ln() / first.ln()).sqrt()
                } else {
                    1.0
                }
            }
        };
        Ok(RopeScaling::LongRope {
            short_factor: list("rope_scaling.short_factor", &self.short_factor)?,
            long_factor: list("rope_scaling.long_factor", &self.long_factor)?,
            attention_factor,
            original_max_position_embeddings: first,
        })
    }
}

fn number(field: &'static str, value: Option<f64>) -> Result<f64, Error> {
    match value {
        Some(value) => Ok(value),
        None => refuse(field, "nothing", "a number"),
    }
}
