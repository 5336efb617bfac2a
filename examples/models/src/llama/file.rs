//! `config.json` of `transformers`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::config::LlamaConfig;
use super::family::{AttentionBias, Family, SoftCap};
use super::feed_forward::GateActivation;
use super::layer_types::LayerFields;
use crate::error::Error;
use crate::fields::{refuse, require};
use crate::rope::{Lengths, RopeFields, RopeScaling};
use crate::weights::{Stack, check_stacks, read_config};

impl LlamaConfig {
    /// Read `config.json` of a folder with a model of one of the [families](super), as
    /// `transformers` 4 or 5 writes it.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if there is no such file, [`Error::Content`] if it is another file, [`Error::Json`] if a
    /// field is missing or of another type, [`Error::Config`] naming a field that is not supported or out of range,
    /// or a number of layers that the folder's weights do not have.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        let file: File = read_config(folder)?;
        let checked = Self::try_from(file).and_then(|config| {
            config.validate()?;
            Ok(config)
        });
        let config = checked.map_err(|error| error.in_config(folder))?;
        check_stacks(
            folder,
            &[Stack {
                field: "num_hidden_layers",
                count: config.num_hidden_layers,
                names: &["layers"],
            }],
        )?;
        Ok(config)
    }
}

/// The fields that decide what the model computes.
#[derive(Deserialize)]
struct File {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    #[serde(default, deserialize_with = "stated")]
    num_key_value_heads: Option<Option<usize>>,
    #[serde(default, deserialize_with = "stated")]
    head_dim: Option<Option<usize>>,
    hidden_act: Option<String>,
    /// What Gemma calls `hidden_act`.
    hidden_activation: Option<String>,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    rope_theta: Option<f64>,
    /// Gemma 3's base of sliding layers.
    rope_local_base_freq: Option<f64>,
    rope_scaling: Option<RopeFields>,
    /// Where `transformers` 5 has both.
    rope_parameters: Option<RopeFields>,
    partial_rotary_factor: Option<f64>,
    no_rope_layers: Option<Vec<i64>>,
    no_rope_layer_interval: Option<usize>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    attention_dropout: Option<f64>,
    resid_pdrop: Option<f64>,
    tie_word_embeddings: Option<bool>,
    initializer_range: Option<f64>,
    use_sliding_window: Option<bool>,
    #[serde(default, deserialize_with = "stated")]
    sliding_window: Option<Option<usize>>,
    max_window_layers: Option<usize>,
    sliding_window_pattern: Option<usize>,
    layer_types: Option<Vec<String>>,
    query_pre_attn_scalar: Option<f64>,
    #[serde(default, deserialize_with = "stated")]
    attn_logit_softcapping: Option<Option<f64>>,
    #[serde(default, deserialize_with = "stated")]
    final_logit_softcapping: Option<Option<f64>>,
    eos_token_id: Option<Ids>,
    pad_token_id: Option<i64>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(i64),
    Several(Vec<i64>),
}

/// A field that may be `null`, which is something else than its absence.
fn stated<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Fields of related families that would change what is computed. All others that are not read here
/// do not change it: tokens, types of numbers, settings of generation, of caches and of training.
const NOT_SUPPORTED: [(&str, &str); 14] = [
    ("use_bidirectional_attention", "false: attention is causal"),
    ("add_cross_attention", "false: there is no encoder"),
    (
        "rope_interleaved",
        "false: rotated pairs are half a head apart",
    ),
    ("num_experts", "none: experts are not supported"),
    ("num_local_experts", "none: experts are not supported"),
    ("attention_chunk_size", "none: chunks are not supported"),
    (
        "attn_temperature_tuning",
        "none: scores are not scaled by position",
    ),
    ("clip_qkv", "none: queries, keys and values are not clipped"),
    (
        "qk_layernorm",
        "false: layer norms of queries and keys are not supported",
    ),
    (
        "use_qk_norm",
        "false: norms of queries and keys are for qwen3 and gemma3_text",
    ),
    ("embedding_multiplier", "1"),
    ("attention_multiplier", "1"),
    ("residual_multiplier", "1"),
    ("logits_scaling", "1"),
];

/// Refuse what other families compute.
fn check_others(others: &BTreeMap<String, Value>) -> Result<(), Error> {
    for (field, expected) in NOT_SUPPORTED {
        let is_neutral = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => {
                number.as_f64() == Some(if expected == "1" { 1.0 } else { 0.0 })
            }
            _ => false,
        };
        if let Some(found) = others.get(field).filter(|value| !is_neutral(value)) {
            return refuse(field, found, expected);
        }
    }
    Ok(())
}

impl TryFrom<File> for LlamaConfig {
    type Error = Error;

    fn try_from(file: File) -> Result<Self, Error> {
        let family = Family::of(&file.model_type)?;
        check_others(&file.others)?;
        let ropes = file.ropes(&family)?;
        let layers = LayerFields {
            layers: file.num_hidden_layers,
            layer_types: file.layer_types.as_deref(),
            use_sliding_window: file.use_sliding_window,
            sliding_window: file.sliding_window.unwrap_or(family.sliding_window),
            max_window_layers: file.max_window_layers,
            sliding_window_pattern: file.sliding_window_pattern,
            no_rope_layers: file.no_rope_layers.as_deref(),
            no_rope_layer_interval: file.no_rope_layer_interval,
        };
        let rotated_layers = layers.rotated(&family)?;
        let sliding_layers = layers.sliding(&family, &rotated_layers)?;
        let (field, usual) = family.activation;
        let activation = match field {
            "hidden_act" => &file.hidden_act,
            _ => &file.hidden_activation,
        };
        let activation = GateActivation::named(field, activation.as_deref().unwrap_or(usual))?;
        let bias = file.attention_bias.unwrap_or(false);
        let [qkv_bias, output_bias] = match family.attention_bias {
            AttentionBias::Never => [false; 2],
            AttentionBias::QueryKeyValue => [true, false],
            AttentionBias::Field => [bias; 2],
        };
        let eos = match file.eos_token_id {
            Some(Ids::One(id)) => vec![id],
            Some(Ids::Several(ids)) => ids,
            None => Vec::new(),
        };
        let gemma = family.gemma;
        let attention_cap = gemma.and_then(|gemma| match gemma.attention_soft_cap {
            SoftCap::Field(usual) => file.attn_logit_softcapping.unwrap_or(Some(usual)),
            SoftCap::Never => None,
        });
        let logit_cap = gemma.and_then(|gemma| {
            let cap = file.final_logit_softcapping;
            cap.unwrap_or(gemma.logit_soft_cap)
        });
        Ok(Self {
            vocab_size: file.vocab_size,
            hidden_size: file.hidden_size,
            intermediate_size: file.intermediate_size,
            num_hidden_layers: file.num_hidden_layers,
            num_attention_heads: file.num_attention_heads,
            num_key_value_heads: file.num_key_value_heads.unwrap_or(family.key_value_heads),
            head_dim: file.head_dim.unwrap_or(family.head_dim),
            rms_norm_eps: file.rms_norm_eps.unwrap_or(family.rms_norm_eps),
            rope_theta: ropes.theta,
            rope_scaling: ropes.scaling,
            max_position_embeddings: file
                .max_position_embeddings
                .filter(|&positions| positions >= 1.0)
                .map(|positions| positions as usize),
            partial_rotary_factor: ropes.partial,
            local_rope_theta: ropes.local_theta,
            local_rope_scaling: ropes.local_scaling,
            rotated_layers,
            sliding_window: layers
                .sliding_window
                .filter(|_| sliding_layers.contains(&true)),
            sliding_layers,
            query_pre_attn_scalar: gemma.map(|gemma| {
                let given = file.query_pre_attn_scalar;
                given.unwrap_or(gemma.query_pre_attn_scalar)
            }),
            attn_logit_softcapping: attention_cap,
            final_logit_softcapping: logit_cap,
            head_norms: family.head_norms,
            output_norms: gemma.is_some(),
            unit_offset_norms: gemma.is_some(),
            scaled_embeddings: gemma.is_some(),
            fused_projections: family.is_phi3,
            activation,
            qkv_bias,
            output_bias,
            mlp_bias: file.mlp_bias.unwrap_or(false) && family.mlp_bias,
            tie_word_embeddings: file.tie_word_embeddings.unwrap_or(family.tied),
            attention_dropout: file.attention_dropout.unwrap_or(0.0),
            residual_dropout: file.resid_pdrop.filter(|_| family.is_phi3).unwrap_or(0.0),
            initializer_range: file.initializer_range.unwrap_or(0.02),
            eos,
            // Some files say -1 for none.
            pad: file.pad_token_id.filter(|&id| id >= 0),
        })
    }
}

/// The rotations of a file.
struct Ropes {
    theta: f64,
    scaling: RopeScaling,
    partial: f64,
    local_theta: Option<f64>,
    local_scaling: RopeScaling,
}

impl File {
    fn ropes(&self, family: &Family) -> Result<Ropes, Error> {
        let lengths = Lengths {
            longest: self.max_position_embeddings,
            // Phi-3's configuration has one always, and it goes before the one in the object.
            first: self
                .original_max_position_embeddings
                .or(family.is_phi3.then_some(4096.0)),
        };
        let given = self.rope_scaling.as_ref().filter(|rope| !rope.is_empty());
        let parameters = self.rope_parameters.clone();
        if let Some(local_theta) = family.local_rope_theta {
            let parameters = parameters.unwrap_or_default();
            let kinds = "an object for each of `full_attention` and `sliding_attention`";
            require(
                !parameters.is_flat(),
                "rope_parameters",
                "entries for all layers",
                kinds,
            )?;
            let global = parameters.of_layers("full_attention")?.unwrap_or_default();
            let global = match given {
                Some(given) => global.updated(given),
                None => global,
            };
            let local = parameters
                .of_layers("sliding_attention")?
                .unwrap_or_default();
            let lengths = Lengths {
                first: None,
                ..lengths
            };
            for rope in [&global, &local] {
                self.whole(rope)?;
            }
            let theta = global.rope_theta.or(self.rope_theta);
            let own = local.rope_theta.or(self.rope_local_base_freq);
            return Ok(Ropes {
                theta: theta.unwrap_or(family.rope_theta),
                scaling: global.scaling(lengths, false)?,
                partial: 1.0,
                local_theta: Some(own.unwrap_or(local_theta)),
                local_scaling: local.scaling(lengths, false)?,
            });
        }
        // Where both are given, `transformers` 4 knows `rope_scaling` alone, and 5 prefers it.
        let rope = given.cloned().or(parameters).unwrap_or_default();
        let partial = if family.is_phi3 {
            let own = rope.partial_rotary_factor.or(self.partial_rotary_factor);
            own.unwrap_or(1.0)
        } else {
            self.whole(&rope)?;
            1.0
        };
        let theta = rope.rope_theta.or(self.rope_theta);
        Ok(Ropes {
            theta: theta.unwrap_or(family.rope_theta),
            scaling: rope.scaling(lengths, family.is_phi3)?,
            partial,
            local_theta: None,
            local_scaling: RopeScaling::None,
        })
    }

    /// Refuse rotations of a part of a head.
    fn whole(&self, rope: &RopeFields) -> Result<(), Error> {
        let partial = rope.partial_rotary_factor.or(self.partial_rotary_factor);
        let partial = partial.unwrap_or(1.0);
        let whole = "1 (rotary positions on a part of a head are for phi3)";
        require(partial == 1.0, "partial_rotary_factor", partial, whole)
    }
}

#[cfg(test)]
mod tests;
