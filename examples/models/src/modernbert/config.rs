//! `config.json` of ModernBERT.

use std::collections::BTreeMap;

use burn::nn::{LayerNorm, LayerNormConfig, Linear};
use burn::tensor::Device;
use serde::Deserialize;

use crate::encoder::{classifier_config, initial_linear, labels};
use crate::error::Error;
use crate::fields::{
    check_classes, check_heads, check_layers, check_model_type, check_positive, check_probability,
    check_size, check_table, require,
};
use crate::llama::GateActivation;
use crate::rope::{Lengths, Rope, RopeFields};

/// The fields of a ModernBERT `config.json`, with the names and defaults of `transformers`.
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::modernbert::ModernBertConfig;
///
/// let mut config = ModernBertConfig::default();
/// (config.vocab_size, config.hidden_size, config.intermediate_size) = (50, 16, 32);
/// (config.num_hidden_layers, config.num_attention_heads) = (3, 2);
/// let model = config.with_labels(3).init_classifier(&Device::flex())?;
/// assert_eq!(model.model.layers.len(), 3);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ModernBertConfig {
    /// `modernbert`, or not stated.
    pub model_type: Option<String>,
    /// Names of the classes.
    #[serde(deserialize_with = "labels")]
    pub id2label: Option<BTreeMap<String, String>>,
    /// Number of classes where they have no names; two where not stated.
    pub num_labels: Option<usize>,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Width d of a token.
    pub hidden_size: usize,
    /// Layers of the encoder.
    pub num_hidden_layers: usize,
    /// Attention heads; they divide the width.
    pub num_attention_heads: usize,
    /// Width of the hidden layer of a feed-forward network.
    pub intermediate_size: usize,
    /// Activation of the gates, see [`GateActivation::named`].
    pub hidden_activation: String,
    /// The longest texts of the training; longer ones go on.
    pub max_position_embeddings: usize,
    /// Deviation of new weights.
    pub initializer_range: f64,
    /// ε of the layer norms.
    pub norm_eps: f64,
    /// Whether layer norms have a bias.
    pub norm_bias: bool,
    /// Whether the layers of the attention have one.
    pub attention_bias: bool,
    /// Whether the feed-forward networks have one.
    pub mlp_bias: bool,
    /// Whether the dense layer of the classifier has one.
    pub classifier_bias: bool,
    /// Activation of the classifier.
    pub classifier_activation: String,
    /// Which vector of a text is classified.
    pub classifier_pooling: ModernBertPooling,
    /// Dropout of attention weights, and of the attention's outputs.
    pub attention_dropout: f64,
    /// Dropout of the token vectors.
    pub embedding_dropout: f64,
    /// Dropout in the feed-forward networks.
    pub mlp_dropout: f64,
    /// Dropout before the classifier.
    pub classifier_dropout: f64,
    /// Width of the window in local layers, half of it on each side.
    pub local_attention: usize,
    /// Every so many layers see the whole text, from the first one on.
    pub global_attn_every_n_layers: usize,
    /// `full_attention` or `sliding_attention` for each layer, in the place of the number above.
    pub layer_types: Option<Vec<String>>,
    /// Base of the rotary wave lengths of layers that see the whole text.
    pub global_rope_theta: f64,
    /// The same of local layers.
    pub local_rope_theta: f64,
    rope_scaling: Option<RopeFields>,
    rope_parameters: Option<RopeFields>,
}

/// Which vector of a text is classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ModernBertPooling {
    /// That of the first token.
    Cls,
    /// The mean over its tokens.
    Mean,
}

impl Default for ModernBertConfig {
    fn default() -> Self {
        Self {
            model_type: None,
            id2label: None,
            num_labels: None,
            vocab_size: 50368,
            hidden_size: 768,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            intermediate_size: 1152,
            hidden_activation: "gelu".into(),
            max_position_embeddings: 8192,
            initializer_range: 0.02,
            norm_eps: 1e-5,
            norm_bias: false,
            attention_bias: false,
            mlp_bias: false,
            classifier_bias: false,
            classifier_activation: "gelu".into(),
            classifier_pooling: ModernBertPooling::Cls,
            attention_dropout: 0.0,
            embedding_dropout: 0.0,
            mlp_dropout: 0.0,
            classifier_dropout: 0.0,
            local_attention: 128,
            global_attn_every_n_layers: 3,
            layer_types: None,
            global_rope_theta: 160_000.0,
            local_rope_theta: 10_000.0,
            rope_scaling: None,
            rope_parameters: None,
        }
    }
}

classifier_config!(ModernBertConfig, &["layers"]);

impl ModernBertConfig {
    pub(super) fn gate(&self) -> Result<GateActivation, Error> {
        GateActivation::named("hidden_activation", &self.hidden_activation)
    }

    pub(super) fn head_activation(&self) -> Result<GateActivation, Error> {
        GateActivation::named("classifier_activation", &self.classifier_activation)
    }

    /// Whether a layer sees the tokens around each only.
    pub(super) fn is_local(&self, layer: usize) -> bool {
        match &self.layer_types {
            Some(types) => types
                .get(layer)
                .is_some_and(|kind| kind == "sliding_attention"),
            None => !layer.is_multiple_of(self.global_attn_every_n_layers.max(1)),
        }
    }

    /// Keys on each side that a query sees in a local layer, its own included.
    pub(super) fn window(&self) -> usize {
        self.local_attention / 2 + 1
    }

    /// The rotations of layers that see the whole text, and of local ones.
    pub(super) fn ropes(&self) -> Result<[Rope; 2], Error> {
        let parameters = self.rope_parameters.clone().unwrap_or_default();
        require(
            !parameters.is_flat(),
            "rope_parameters",
            "entries for all layers",
            "an object for each of `full_attention` and `sliding_attention`",
        )?;
        let lengths = Lengths {
            longest: Some(self.max_position_embeddings as f64),
            first: None,
        };
        let rope = |kind: &str, theta: f64| {
            let own = parameters.of_layers(kind)?.unwrap_or_default();
            let own = match &self.rope_scaling {
                Some(given) => own.updated(given),
                None => own,
            };
            let partial = own.partial_rotary_factor.unwrap_or(1.0);
            let expected = "1: heads are rotated as a whole";
            require(partial == 1.0, "partial_rotary_factor", partial, expected)?;
            let rope = Rope {
                theta: own.rope_theta.unwrap_or(theta),
                width: self.hidden_size / self.num_attention_heads.max(1),
                scaling: own.scaling(lengths, false)?,
            };
            check_positive("rope_theta", rope.theta)?;
            rope.validate()?;
            Ok(rope)
        };
        Ok([
            rope("full_attention", self.global_rope_theta)?,
            rope("sliding_attention", self.local_rope_theta)?,
        ])
    }

    pub(super) fn norm(&self, device: &Device) -> LayerNorm {
        LayerNormConfig::new(self.hidden_size)
            .with_epsilon(self.norm_eps)
            .with_bias(self.norm_bias)
            .init(device)
    }

    pub(super) fn linear(&self, dims: [usize; 2], bias: bool, device: &Device) -> Linear {
        initial_linear(dims, bias, self.initializer_range, device)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        check_model_type(self.model_type.as_deref(), "modernbert")?;
        check_heads(self.hidden_size, self.num_attention_heads)?;
        let width = self.hidden_size / self.num_attention_heads;
        let expected = "a number of heads of even width";
        require(
            width.is_multiple_of(2),
            "num_attention_heads",
            self.num_attention_heads,
            expected,
        )?;
        check_size("vocab_size", self.vocab_size)?;
        check_layers("num_hidden_layers", self.num_hidden_layers)?;
        check_size("intermediate_size", self.intermediate_size)?;
        check_table("vocab_size", self.vocab_size, self.hidden_size)?;
        let twice = 2 * self.intermediate_size;
        check_table("intermediate_size", twice, self.hidden_size)?;
        check_classes(self.id2label.is_some(), self.num_labels(), self.hidden_size)?;
        self.gate()?;
        self.head_activation()?;
        for (field, value) in [
            ("attention_dropout", self.attention_dropout),
            ("embedding_dropout", self.embedding_dropout),
            ("mlp_dropout", self.mlp_dropout),
            ("classifier_dropout", self.classifier_dropout),
        ] {
            check_probability(field, value)?;
        }
        check_positive("initializer_range", self.initializer_range)?;
        check_positive("norm_eps", self.norm_eps)?;
        let every = self.global_attn_every_n_layers;
        require(every > 0, "global_attn_every_n_layers", every, "at least 1")?;
        if let Some(types) = &self.layer_types {
            let known = ["full_attention", "sliding_attention"];
            for kind in types {
                require(
                    known.contains(&kind.as_str()),
                    "layer_types",
                    format!("`{kind}`"),
                    "`full_attention` or `sliding_attention`",
                )?;
            }
            require(
                types.len() == self.num_hidden_layers,
                "layer_types",
                format!("{} entries", types.len()),
                format!(
                    "one for each of num_hidden_layers = {}",
                    self.num_hidden_layers
                ),
            )?;
        }
        self.ropes().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::refused_field;
    use serde_json::json;

    fn config(fields: serde_json::Value) -> ModernBertConfig {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn every_third_layer_sees_all() {
        let plain = ModernBertConfig::default();
        let local = |config: &ModernBertConfig| [0, 1, 2, 3, 4].map(|layer| config.is_local(layer));
        assert_eq!(local(&plain), [false, true, true, false, true]);
        assert_eq!(plain.window(), 65);
        let every = config(json!({"global_attn_every_n_layers": 2}));
        assert_eq!(local(&every), [false, true, false, true, false]);
        let kinds = ["sliding_attention", "full_attention"];
        let stated = config(json!({"num_hidden_layers": 2, "layer_types": kinds}));
        assert!(stated.check().is_ok());
        assert!(stated.is_local(0) && !stated.is_local(1));
    }

    #[test]
    fn both_bases_are_read_under_old_and_new_names() {
        let old = config(json!({"global_rope_theta": 5e4, "local_rope_theta": 3e3}));
        let new = config(json!({"rope_parameters": {
            "full_attention": {"rope_type": "default", "rope_theta": 5e4},
            "sliding_attention": {"rope_type": "default", "rope_theta": 3e3}
        }}));
        for config in [old, new] {
            let [global, local] = config.ropes().unwrap();
            assert_eq!([global.theta, local.theta], [5e4, 3e3]);
        }
        let [global, local] = ModernBertConfig::default().ropes().unwrap();
        assert_eq!([global.theta, local.theta], [160_000.0, 10_000.0]);
    }

    #[test]
    fn unsupported_values_are_named() {
        for (fields, expected) in [
            (json!({"model_type": "bert"}), "model_type"),
            (json!({"hidden_activation": "mish"}), "hidden_activation"),
            (
                json!({"classifier_activation": "mish"}),
                "classifier_activation",
            ),
            (json!({"layer_types": ["full_attention"]}), "layer_types"),
            (json!({"layer_types": ["chunked_attention"]}), "layer_types"),
            (
                json!({"global_attn_every_n_layers": 0}),
                "global_attn_every_n_layers",
            ),
            (json!({"num_attention_heads": 256}), "num_attention_heads"),
            (
                json!({"rope_parameters": {"rope_theta": 1e4}}),
                "rope_parameters",
            ),
            (json!({"local_rope_theta": 0.0}), "rope_theta"),
            (json!({"mlp_dropout": 1.0}), "mlp_dropout"),
        ] {
            assert_eq!(refused_field(config(fields).check()), expected);
        }
        let pooling = json!({"classifier_pooling": "max"});
        assert!(serde_json::from_value::<ModernBertConfig>(pooling).is_err());
    }
}
