//! `config.json` of BERT and of its relatives.

use std::collections::BTreeMap;

use burn::nn::activation::Activation;
use burn::tensor::Device;
use serde::Deserialize;

use crate::encoder::{activation, check_activation, classes_config, labels};
use crate::error::Error;
use crate::fields::{
    check_classes, check_heads, check_layers, check_only, check_positive, check_probability,
    check_size, check_table, refuse, require,
};

/// The fields of a BERT `config.json`, with the names and defaults of `transformers`.
///
/// Its relatives have the same encoder: RoBERTa counts positions behind the padding token's id, and
/// DistilBERT has no segments and no dropout after the attention. Their classifiers are in
/// [`roberta`](crate::roberta) and [`distilbert`](crate::distilbert).
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
    /// `bert` (or not stated), `roberta` or `distilbert`.
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
    /// Segments of a sequence; DistilBERT has none.
    pub type_vocab_size: usize,
    /// The token that fills up shorter sequences; RoBERTa's positions depend on it.
    pub pad_token_id: Option<i64>,
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
            pad_token_id: None,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            position_embedding_type: "absolute".into(),
            is_decoder: false,
        }
    }
}

classes_config!(BertConfig);

/// A relative of BERT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BertKind {
    Bert,
    Roberta,
    DistilBert,
}

impl BertConfig {
    /// Which relative this is.
    pub(crate) fn kind(&self) -> Result<BertKind, Error> {
        match self.model_type.as_deref() {
            None | Some("bert") => Ok(BertKind::Bert),
            Some("roberta") => Ok(BertKind::Roberta),
            Some("distilbert") => Ok(BertKind::DistilBert),
            Some(found) => {
                let expected = "bert, roberta or distilbert";
                refuse("model_type", format!("`{found}`"), expected)
            }
        }
    }

    /// Refuse another relative than the one of a class.
    pub(crate) fn require_kind(&self, kind: BertKind, name: &str) -> Result<(), Error> {
        let found = self.model_type.as_deref().unwrap_or("bert");
        let expected = format!("{name} for this class");
        require(
            self.kind()? == kind,
            "model_type",
            format!("`{found}`"),
            expected,
        )
    }

    /// The id of the padding token of a model whose positions count from behind it.
    pub(crate) fn position_padding(&self) -> Option<i64> {
        let is_roberta = self.model_type.as_deref() == Some("roberta");
        is_roberta.then(|| self.pad_token_id.unwrap_or(1))
    }

    /// The longest sequence, prompts included: RoBERTa does not use the first positions of its table.
    pub fn longest_sequence(&self) -> usize {
        let unused = self.position_padding().map_or(0, |id| id.saturating_add(1));
        let unused = usize::try_from(unused).unwrap_or(usize::MAX);
        self.max_position_embeddings.saturating_sub(unused)
    }

    pub(super) fn activation(&self, device: &Device) -> Result<Activation, Error> {
        activation(&self.hidden_act, device)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let kind = self.kind()?;
        check_heads(self.hidden_size, self.num_attention_heads)?;
        check_size("vocab_size", self.vocab_size)?;
        check_layers("num_hidden_layers", self.num_hidden_layers)?;
        check_size("intermediate_size", self.intermediate_size)?;
        check_size("max_position_embeddings", self.max_position_embeddings)?;
        if kind != BertKind::DistilBert {
            check_size("type_vocab_size", self.type_vocab_size)?;
        }
        if let Some(id) = self.position_padding() {
            let last = self.max_position_embeddings as i64 - 2;
            let expected = format!("0 to {last}: positions begin behind it");
            require((0..=last).contains(&id), "pad_token_id", id, expected)?;
        }
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
        let roberta = |config: &mut BertConfig, pad: i64| {
            config.model_type = Some("roberta".into());
            config.pad_token_id = Some(pad);
        };
        assert_eq!(
            refused(|c| {
                c.model_type = Some("roberta".into());
                c.pad_token_id = Some(511);
            }),
            "pad_token_id"
        );
        let mut config = BertConfig::default();
        assert_eq!(config.longest_sequence(), 512);
        roberta(&mut config, 1);
        assert!(config.check().is_ok());
        assert_eq!(config.longest_sequence(), 510);
        assert!(config.init_classifier(&Device::flex()).is_err());
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
