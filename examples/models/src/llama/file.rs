//! `config.json` of `transformers`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::config::LlamaConfig;
use super::rope::RopeScaling;
use crate::error::Error;
use crate::fields::{refuse, require};
use crate::weights::{Stack, check_stacks, read_config};

impl LlamaConfig {
    /// Read `config.json` of a folder with a model of the type `llama` or `qwen2`, as
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
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    rms_norm_eps: Option<f64>,
    max_position_embeddings: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    /// Where `transformers` 5 has both.
    rope_parameters: Option<Rope>,
    partial_rotary_factor: Option<f64>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    attention_dropout: Option<f64>,
    tie_word_embeddings: Option<bool>,
    initializer_range: Option<f64>,
    use_sliding_window: Option<bool>,
    layer_types: Option<Vec<String>>,
    eos_token_id: Option<Ids>,
    pad_token_id: Option<i64>,
}

#[derive(Deserialize)]
struct Rope {
    rope_type: Option<String>,
    /// The older name of `rope_type`.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(i64),
    Several(Vec<i64>),
}

impl TryFrom<File> for LlamaConfig {
    type Error = Error;

    fn try_from(file: File) -> Result<Self, Error> {
        let is_qwen = match file.model_type.as_str() {
            "llama" => false,
            "qwen2" => true,
            other => return refuse("model_type", format!("`{other}`"), "llama or qwen2"),
        };
        let activation = file.hidden_act.as_deref().unwrap_or("silu");
        // Two names of one function.
        let is_silu = ["silu", "swish"].contains(&activation);
        require(is_silu, "hidden_act", format!("`{activation}`"), "silu")?;
        if file.use_sliding_window == Some(true) {
            return refuse("use_sliding_window", "true", "false");
        }
        let layers = file.layer_types.iter().flatten();
        for layer in layers {
            require(
                layer == "full_attention",
                "layer_types",
                format!("`{layer}`"),
                "full_attention",
            )?;
        }
        // Where both are given, `transformers` 4 knows `rope_scaling` alone, and 5 prefers it.
        let given = file.rope_scaling.filter(|rope| !rope.is_empty());
        let rope = given.or(file.rope_parameters);
        let partial = rope.as_ref().and_then(|rope| rope.partial_rotary_factor);
        let partial = partial.or(file.partial_rotary_factor).unwrap_or(1.0);
        let whole = "1 (rotary positions on a part of a head are not supported)";
        require(partial == 1.0, "partial_rotary_factor", partial, whole)?;
        let theta = rope.as_ref().and_then(|rope| rope.rope_theta);
        // The field next to the others takes precedence in `transformers`; the longest text is its default.
        let first_length = [
            file.original_max_position_embeddings,
            rope.as_ref()
                .and_then(|rope| rope.original_max_position_embeddings),
            file.max_position_embeddings,
        ];
        let first_length = first_length.into_iter().flatten().next();
        // Qwen2's are not up to its configuration: queries, keys and values have a bias, the
        // others have none.
        let bias = file.attention_bias.unwrap_or(false) && !is_qwen;
        let eos = match file.eos_token_id {
            Some(Ids::One(id)) => vec![id],
            Some(Ids::Several(ids)) => ids,
            None => Vec::new(),
        };
        Ok(Self {
            vocab_size: file.vocab_size,
            hidden_size: file.hidden_size,
            intermediate_size: file.intermediate_size,
            num_hidden_layers: file.num_hidden_layers,
            num_attention_heads: file.num_attention_heads,
            num_key_value_heads: file.num_key_value_heads,
            head_dim: file.head_dim,
            rms_norm_eps: file.rms_norm_eps.unwrap_or(1e-6),
            rope_theta: theta.or(file.rope_theta).unwrap_or(10_000.0),
            rope_scaling: rope.map_or(Ok(RopeScaling::None), |rope| rope.scaling(first_length))?,
            qkv_bias: bias || is_qwen,
            output_bias: bias,
            mlp_bias: file.mlp_bias.unwrap_or(false) && !is_qwen,
            tie_word_embeddings: file.tie_word_embeddings.unwrap_or(false),
            attention_dropout: file.attention_dropout.unwrap_or(0.0),
            initializer_range: file.initializer_range.unwrap_or(0.02),
            eos,
            // Some files say -1 for none.
            pad: file.pad_token_id.filter(|&id| id >= 0),
        })
    }
}

impl Rope {
    /// Whether the object has no entry at all.
    fn is_empty(&self) -> bool {
        let numbers = [
            self.rope_theta,
            self.factor,
            self.low_freq_factor,
            self.high_freq_factor,
            self.original_max_position_embeddings,
            self.partial_rotary_factor,
        ];
        numbers.iter().all(Option::is_none)
            && self.rope_type.is_none()
            && self.r#type.is_none()
            && self.others.is_empty()
    }

    /// `first_length` are the tokens of a text in the first training.
    fn scaling(self, first_length: Option<f64>) -> Result<RopeScaling, Error> {
        // `transformers` 5 can nest parameters by the type of a layer.
        if let Some((key, _)) = self.others.iter().find(|(_, value)| value.is_object()) {
            return refuse(
                "rope_parameters",
                format!("an object `{key}`"),
                "one object for all layers",
            );
        }
        let kind = match self.rope_type.as_deref().or(self.r#type.as_deref()) {
            Some(kind) => kind,
            None if self.factor.is_none() => "default",
            None => return refuse("rope_scaling.rope_type", "nothing", KINDS),
        };
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear {
                factor: number("rope_scaling.factor", self.factor)?,
            }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: number("rope_scaling.factor", self.factor)?,
                low_freq_factor: number("rope_scaling.low_freq_factor", self.low_freq_factor)?,
                high_freq_factor: number("rope_scaling.high_freq_factor", self.high_freq_factor)?,
                original_max_position_embeddings: number(
                    "rope_scaling.original_max_position_embeddings",
                    first_length,
                )?,
            }),
            other => refuse("rope_scaling.rope_type", format!("`{other}`"), KINDS),
        }
    }
}

const KINDS: &str = "default, linear or llama3";

fn number(field: &'static str, value: Option<f64>) -> Result<f64, Error> {
    match value {
        Some(value) => Ok(value),
        None => refuse(field, "nothing", "a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(changes: Value) -> Result<LlamaConfig, Error> {
        let mut all = json!({
            "model_type": "llama", "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64
        });
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), all.to_string()).unwrap();
        LlamaConfig::from_folder(folder.path())
    }

    #[test]
    fn what_a_file_does_not_say_is_as_in_transformers() {
        let plain = LlamaConfig::new(100, 32, 64, 2, 4);
        assert_eq!(read(json!({})).unwrap(), plain);
        let null = json!({"rope_scaling": null, "head_dim": null, "pad_token_id": -1});
        assert_eq!(read(null).unwrap(), plain);
        let qwen = json!({"model_type": "qwen2", "use_sliding_window": false});
        assert_eq!(read(qwen).unwrap(), plain.clone().with_qkv_bias(true));
        let biased = json!({"attention_bias": true, "eos_token_id": [1, 2], "pad_token_id": 3});
        let expected = plain.with_qkv_bias(true).with_output_bias(true);
        let expected = expected.with_eos(vec![1, 2]).with_pad(Some(3));
        assert_eq!(read(biased).unwrap(), expected);
    }

    #[test]
    fn scalings_are_read_under_old_and_new_names() {
        let linear = RopeScaling::Linear { factor: 4.0 };
        for changes in [
            json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 4}}),
            json!({"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
            json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 4.0}}),
        ] {
            let config = read(changes).unwrap();
            assert_eq!(config.rope_scaling, linear);
            assert_eq!(config.rope_theta, 5e5);
        }
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
        let config = read(json!({"rope_scaling": llama3})).unwrap();
        assert!(matches!(
            config.rope_scaling,
            RopeScaling::Llama3 { factor: 8.0, .. }
        ));
        // As `convert_rope_params_to_dict` of `transformers` 5.24.
        let both = json!({"rope_theta": 3e4, "rope_scaling": {"rope_type": "linear", "factor": 4.0},
            "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}});
        let config = read(both).unwrap();
        assert_eq!((config.rope_scaling, config.rope_theta), (linear, 3e4));
        let neither = json!({"rope_scaling": {}, "rope_parameters": {"rope_theta": 5e5}});
        let config = read(neither).unwrap();
        assert_eq!(
            (config.rope_scaling, config.rope_theta),
            (RopeScaling::None, 5e5)
        );
        let first = |changes: Value| match read(changes).unwrap().rope_scaling {
            RopeScaling::Llama3 {
                original_max_position_embeddings,
                ..
            } => original_max_position_embeddings,
            other => panic!("{other}"),
        };
        let shorter = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0});
        assert_eq!(first(json!({"rope_parameters": shorter})), 64.0);
        let outside = json!({"rope_parameters": shorter, "original_max_position_embeddings": 32});
        assert_eq!(first(outside), 32.0);
        let default = json!({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}});
        assert_eq!(read(default).unwrap().rope_scaling, RopeScaling::None);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (changes, expected) in [
            (json!({"model_type": "bert"}), "model_type"),
            (json!({"hidden_act": "gelu"}), "hidden_act"),
            (json!({"use_sliding_window": true}), "use_sliding_window"),
            (json!({"layer_types": ["sliding_attention"]}), "layer_types"),
            (
                json!({"partial_rotary_factor": 0.5}),
                "partial_rotary_factor",
            ),
            (json!({"num_key_value_heads": 3}), "num_key_value_heads"),
            (
                json!({"rope_scaling": {"type": "yarn", "factor": 2.0}}),
                "rope_scaling.rope_type",
            ),
            (
                json!({"rope_scaling": {"factor": 2.0}}),
                "rope_scaling.rope_type",
            ),
            (
                json!({"rope_scaling": {"type": "linear"}}),
                "rope_scaling.factor",
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": 0.0}}),
                "rope_scaling.factor",
            ),
            (
                json!({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}),
                "rope_scaling.low_freq_factor",
            ),
            (
                json!({"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6}}}),
                "rope_parameters",
            ),
            (
                json!({"per_layer_config": {"1": {"head_dim": 4}}}),
                "per_layer_config",
            ),
            (
                json!({"quantization_config": {"bits": 4}}),
                "quantization_config",
            ),
        ] {
            let Err(Error::Config { field, .. }) = read(changes.clone()) else {
                panic!("{changes} was accepted");
            };
            assert_eq!(field, expected);
        }
        let error = read(json!({"vocab_size": "many"})).unwrap_err();
        assert!(matches!(error, Error::Json { .. }), "{error}");
    }
}
