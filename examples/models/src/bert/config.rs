//! `config.json` of BERT.

use std::collections::BTreeMap;

use burn::nn::activation::Activation;
use burn::tensor::Device;
use serde::Deserialize;

use crate::encoder::{activation, check_activation, classifier_config, labels};
use crate::error::Error;
use crate::fields::{
    check_classes, check_heads, check_layers, check_model_type, check_only, check_positive,
    check_probability, check_size, check_table,
};

/// The fields of a BERT `config.json`, with the names and defaults of `transformers`.
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::bert::BertConfig;
///
/// let config = BertConfig {
///     vocab_size: 50,
///     hidden_size: 16,
///     num_hidden_layers: 1,
///     num_attention_heads: 2,
///     intermediate_size: 32,
///     ..BertConfig::default()
/// };
/// let model = config.with_labels(3).init_classifier(&Device::flex())?;
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// `bert`, or not stated.
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
    /// `gelu`, `gelu_new`, `gelu_pytorch_tanh` or `relu`.
    pub hidden_act: String,
    /// Dropout of embeddings and of the outputs of attention and feed-forward networks.
    pub hidden_dropout_prob: f64,
    /// Dropout of attention weights.
    pub attention_probs_dropout_prob: f64,
    /// Dropout before the classifier; `hidden_dropout_prob` where not stated.
    pub classifier_dropout: Option<f64>,
    /// Longest sequence, prompts included.
    pub max_position_embeddings: usize,
    /// Segments of a sequence.
    pub type_vocab_size: usize,
    /// Deviation of new weights.
    pub initializer_range: f64,
    /// ε of the layer norms.
    pub layer_norm_eps: f64,
    /// `absolute`.
    pub position_embedding_type: String,
    /// Not supported.
    pub is_decoder: bool,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            model_type: None,
            id2label: None,
            num_labels: None,
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            position_embedding_type: "absolute".into(),
            is_decoder: false,
        }
    }
}

classifier_config!(BertConfig, &["encoder.layer"]);

impl BertConfig {
    pub(super) fn activation(&self, device: &Device) -> Result<Activation, Error> {
        activation(&self.hidden_act, device)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        check_model_type(self.model_type.as_deref(), "bert")?;
        check_heads(self.hidden_size, self.num_attention_heads)?;
        check_size("vocab_size", self.vocab_size)?;
        check_layers("num_hidden_layers", self.num_hidden_layers)?;
        check_size("intermediate_size", self.intermediate_size)?;
        check_size("max_position_embeddings", self.max_position_embeddings)?;
        check_size("type_vocab_size", self.type_vocab_size)?;
        for (field, rows) in [
            ("vocab_size", self.vocab_size),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            check_table(field, rows, self.hidden_size)?;
        }
        check_classes(self.id2label.is_some(), self.num_labels(), self.hidden_size)?;
        check_activation(&self.hidden_act)?;
        check_probability("hidden_dropout_prob", self.hidden_dropout_prob)?;
        check_probability(
            "attention_probs_dropout_prob",
            self.attention_probs_dropout_prob,
        )?;
        check_probability("classifier_dropout", self.classifier_dropout.unwrap_or(0.0))?;
        check_positive("initializer_range", self.initializer_range)?;
        check_positive("layer_norm_eps", self.layer_norm_eps)?;
        check_only(
            "position_embedding_type",
            self.position_embedding_type.as_str(),
            "absolute",
            "relative positions are not supported",
        )?;
        check_only(
            "is_decoder",
            self.is_decoder,
            false,
            "decoders are not supported",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::refused_field;

    #[test]
    fn unsupported_values_are_named() {
        let refused = |change: fn(&mut BertConfig)| {
            let mut config = BertConfig::default();
            assert!(config.check().is_ok());
            change(&mut config);
            refused_field(config.check())
        };
        assert_eq!(refused(|c| c.model_type = Some("t5".into())), "model_type");
        assert_eq!(
            refused(|c| c.num_attention_heads = 7),
            "num_attention_heads"
        );
        assert_eq!(
            refused(|c| c.position_embedding_type = "relative_key".into()),
            "position_embedding_type"
        );
        assert_eq!(refused(|c| c.is_decoder = true), "is_decoder");
        assert_eq!(
            refused(|c| c.hidden_dropout_prob = 1.5),
            "hidden_dropout_prob"
        );
        assert_eq!(refused(|c| c.num_hidden_layers = 0), "num_hidden_layers");
    }

    #[test]
    fn labels_are_counted() {
        assert_eq!(BertConfig::default().num_labels(), 2);
        // As in `transformers`, names count more than the number.
        for (json, count) in [
            (r#"{"num_labels": 4}"#, 4),
            (r#"{"num_labels": 4, "id2label": null}"#, 4),
            (
                r#"{"num_labels": 4, "id2label": {"0": 0, "1": 1.5, "2": "c"}}"#,
                3,
            ),
        ] {
            let config: BertConfig = serde_json::from_str(json).unwrap();
            assert_eq!(config.num_labels(), count, "{json}");
        }
        let many: BertConfig = serde_json::from_str(r#"{"num_labels": 1099511627776}"#).unwrap();
        assert_eq!(refused_field(many.check()), "num_labels");
        let json = r#"{"id2label": {"0": "a", "1": "b", "2": "c"}, "unknown": []}"#;
        let config: BertConfig = serde_json::from_str(json).unwrap();
        assert_eq!(config.num_labels(), 3);
        assert_eq!(config.with_labels(5).num_labels(), 5);
    }
}
