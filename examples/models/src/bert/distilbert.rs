//! DistilBERT's configuration and names, next to BERT's.

use std::collections::BTreeMap;

use burn_peft::NameMap;
use serde::Deserialize;

use super::BertConfig;
use crate::encoder::labels;
use crate::names::renamed;

/// The fields of a DistilBERT `config.json`, with the names and defaults of `transformers`. How the
/// table of positions was made (`sinusoidal_pos_embds`) is nothing to a folder that holds it.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct DistilBertFields {
    #[serde(deserialize_with = "labels")]
    id2label: Option<BTreeMap<String, String>>,
    num_labels: Option<usize>,
    vocab_size: usize,
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    hidden_dim: usize,
    activation: String,
    dropout: f64,
    attention_dropout: f64,
    seq_classif_dropout: f64,
    max_position_embeddings: usize,
    initializer_range: f64,
    pad_token_id: Option<i64>,
}

impl Default for DistilBertFields {
    fn default() -> Self {
        Self {
            id2label: None,
            num_labels: None,
            vocab_size: 30522,
            dim: 768,
            n_layers: 6,
            n_heads: 12,
            hidden_dim: 3072,
            activation: "gelu".into(),
            dropout: 0.1,
            attention_dropout: 0.1,
            seq_classif_dropout: 0.2,
            max_position_embeddings: 512,
            initializer_range: 0.02,
            pad_token_id: None,
        }
    }
}

impl From<DistilBertFields> for BertConfig {
    fn from(fields: DistilBertFields) -> Self {
        Self {
            model_type: Some("distilbert".into()),
            id2label: fields.id2label,
            num_labels: fields.num_labels,
            vocab_size: fields.vocab_size,
            hidden_size: fields.dim,
            num_hidden_layers: fields.n_layers,
            num_attention_heads: fields.n_heads,
            intermediate_size: fields.hidden_dim,
            hidden_act: fields.activation,
            hidden_dropout_prob: fields.dropout,
            attention_probs_dropout_prob: fields.attention_dropout,
            classifier_dropout: Some(fields.seq_classif_dropout),
            max_position_embeddings: fields.max_position_embeddings,
            type_vocab_size: 0,
            pad_token_id: fields.pad_token_id,
            initializer_range: fields.initializer_range,
            layer_norm_eps: 1e-12,
            ..Self::default()
        }
    }
}

/// What DistilBERT calls BERT's modules.
pub(crate) fn distilbert_names() -> NameMap {
    renamed(&[
        (r"\bencoder\.layer\b", "transformer.layer"),
        (r"\battention\.self_attention\.query\b", "attention.q_lin"),
        (r"\battention\.self_attention\.key\b", "attention.k_lin"),
        (r"\battention\.self_attention\.value\b", "attention.v_lin"),
        (r"\battention\.output\.dense\b", "attention.out_lin"),
        (r"\battention\.output\.layer_norm\b", "sa_layer_norm"),
        (r"\bintermediate\.dense\b", "ffn.lin1"),
        (r"\boutput\.dense\b", "ffn.lin2"),
        (r"\boutput\.layer_norm\b", "output_layer_norm"),
        (r"\bembeddings\.layer_norm\b", "embeddings.LayerNorm"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_have_the_names_of_distilbert() {
        let names = distilbert_names();
        let layer = "distilbert.transformer.layer.11";
        for (path, expected) in [
            ("attention.self_attention.query", "attention.q_lin"),
            ("attention.output.dense", "attention.out_lin"),
            ("attention.output.layer_norm", "sa_layer_norm"),
            ("intermediate.dense", "ffn.lin1"),
            ("output.dense", "ffn.lin2"),
            ("output.layer_norm", "output_layer_norm"),
        ] {
            let found = names.name(&format!("distilbert.encoder.layer.11.{path}"));
            assert_eq!(found, format!("{layer}.{expected}"));
        }
        assert_eq!(names.name("embeddings.layer_norm"), "embeddings.LayerNorm");
    }
}
