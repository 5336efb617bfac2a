//! The fields of a T5 `config.json`, as `transformers` 4 and 5 write them.

use std::path::Path;

use serde::Deserialize;

use super::config::{FeedForwardProjection, T5Config};
use crate::error::Error;
use crate::fields::{check_only, refuse, require};
use crate::weights::{self, Stack, check_stacks, parse, read_config};

/// Fields that decide what the model computes.
#[derive(Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    model_type: String,
    architectures: Option<Vec<String>>,
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_decoder_layers: Option<usize>,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    dropout_rate: f64,
    layer_norm_epsilon: f64,
    initializer_factor: f64,
    feed_forward_proj: String,
    /// The activation, which `feed_forward_proj` names too.
    dense_act_fn: Option<String>,
    is_gated_act: Option<bool>,
    tie_word_embeddings: Option<bool>,
    /// Written by `transformers` 5 alone.
    pub scale_decoder_outputs: Option<bool>,
    /// Shares all layers of encoder and decoder, in `transformers` 4.
    tie_encoder_decoder: Option<bool>,
    pad_token_id: Option<i64>,
    /// `null` is none, while an absent field has its default.
    eos_token_id: Option<Ids>,
    decoder_start_token_id: Option<i64>,
}

/// One token or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(i64),
    Several(Vec<i64>),
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            model_type: "t5".into(),
            architectures: None,
            vocab_size: 32_128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            initializer_factor: 1.0,
            feed_forward_proj: "relu".into(),
            dense_act_fn: None,
            is_gated_act: None,
            tie_word_embeddings: None,
            scale_decoder_outputs: None,
            tie_encoder_decoder: None,
            pad_token_id: Some(0),
            eos_token_id: Some(Ids::One(1)),
            decoder_start_token_id: None,
        }
    }
}

impl Fields {
    /// Whether the folder was saved by a class without a language-model head.
    pub fn is_headless(&self) -> bool {
        let classes = self.architectures.iter().flatten();
        let mut classes = classes.take(1);
        classes
            .any(|class| !class.ends_with("ForConditionalGeneration") && !class.contains("LMHead"))
    }

    /// The activation must be the one that `feed_forward_proj` means: `transformers` computes with the former.
    fn check_activation(&self, projection: FeedForwardProjection) -> Result<(), Error> {
        let (names, gated): (&[&str], bool) = match projection {
            FeedForwardProjection::Relu => (&["relu"], false),
            FeedForwardProjection::GatedGelu => (&["gelu_new", "gelu_pytorch_tanh"], true),
            FeedForwardProjection::GatedSilu => (&["silu", "swish"], true),
        };
        let of = format!("for `feed_forward_proj` = `{}`", self.feed_forward_proj);
        if let Some(found) = &self.dense_act_fn {
            let expected = format!("`{}` {of}", names[0]);
            require(
                names.contains(&found.as_str()),
                "dense_act_fn",
                format!("`{found}`"),
                expected,
            )?;
        }
        let found = self.is_gated_act.unwrap_or(gated);
        require(
            found == gated,
            "is_gated_act",
            found,
            format!("{gated} {of}"),
        )
    }
}

impl T5Config {
    /// Read `config.json` of a folder, as `transformers` 4 or 5 writes it.
    ///
    /// `transformers` 5 writes `tie_word_embeddings: true` for every T5 and ties the head unless the weights hold
    /// another one; whether outputs are scaled is a field of its own there, `scale_decoder_outputs`. So where that
    /// field is given, the folder's weights decide about the head.
    ///
    /// # Errors
    ///
    /// [`Error::Read`], [`Error::Content`] or [`Error::Json`] for a file that is absent or no configuration,
    /// [`Error::Config`] naming a field with a value that is not supported, or a number of layers that the folder's
    /// weights do not have; [`Error::Missing`] if a configuration of `transformers` 5 says that the head was left
    /// out.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        let fields: Fields = read_config(folder)?;
        let (is_new, is_headless) = (fields.scale_decoder_outputs.is_some(), fields.is_headless());
        let mut config = Self::try_from(fields).map_err(|error| error.in_config(folder))?;
        check_stacks(
            folder,
            &[
                Stack {
                    field: "num_layers",
                    count: config.num_layers,
                    names: &["encoder.block"],
                },
                Stack {
                    field: "num_decoder_layers",
                    count: config.num_decoder_layers,
                    names: &["decoder.block"],
                },
            ],
        )?;
        if !is_new {
            return Ok(config);
        }
        match weights::holds(folder, "lm_head.weight")? {
            None => {}
            Some(true) => {
                config.tie_word_embeddings =
                    !weights::is_different(folder, "lm_head.weight", &super::TABLES)?;
            }
            // v1.1 has a head of its own, which a class without a head does not save.
            Some(false) if is_headless && !config.scale_decoder_outputs => {
                return Err(Error::Missing {
                    path: folder.into(),
                    names: vec!["lm_head.weight".into()],
                });
            }
            Some(false) => config.tie_word_embeddings = true,
        }
        Ok(config)
    }

    /// Parse the text of a `config.json`.
    ///
    /// # Errors
    ///
    /// As [`from_folder`](Self::from_folder), which also looks at the weights.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        parse::<Fields>(Path::new("config.json"), text)?.try_into()
    }
}

impl TryFrom<Fields> for T5Config {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Self, Error> {
        if fields.model_type != "t5" {
            return refuse("model_type", format!("`{}`", fields.model_type), "t5");
        }
        let feed_forward = FeedForwardProjection::parse(&fields.feed_forward_proj)?;
        fields.check_activation(feed_forward)?;
        let shares = fields.tie_encoder_decoder.unwrap_or(false);
        check_only(
            "tie_encoder_decoder",
            shares,
            false,
            "encoder and decoder have layers of their own",
        )?;
        let tie_word_embeddings = fields.tie_word_embeddings.unwrap_or(true);
        let pad_token_id = fields.pad_token_id.unwrap_or(0);
        let config = Self {
            vocab_size: fields.vocab_size,
            d_model: fields.d_model,
            d_kv: fields.d_kv,
            d_ff: fields.d_ff,
            num_layers: fields.num_layers,
            num_decoder_layers: fields.num_decoder_layers.unwrap_or(fields.num_layers),
            num_heads: fields.num_heads,
            relative_attention_num_buckets: fields.relative_attention_num_buckets,
            relative_attention_max_distance: fields.relative_attention_max_distance,
            dropout_rate: fields.dropout_rate,
            layer_norm_epsilon: fields.layer_norm_epsilon,
            initializer_factor: fields.initializer_factor,
            feed_forward,
            tie_word_embeddings,
            // Up to `transformers` 4 a tied head was what told v1.0 from v1.1.
            scale_decoder_outputs: fields.scale_decoder_outputs.unwrap_or(tie_word_embeddings),
            pad_token_id,
            eos_token_ids: match fields.eos_token_id {
                Some(Ids::One(id)) => vec![id],
                Some(Ids::Several(ids)) => ids,
                None => Vec::new(),
            },
            decoder_start_token_id: fields.decoder_start_token_id.unwrap_or(pad_token_id),
        };
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<T5Config, Error> {
        T5Config::from_json(json)
    }

    /// `scale_decoder_outputs` and `tie_word_embeddings` as `T5Config.__post_init__` of `transformers` 5.24 has them.
    #[test]
    fn outputs_are_scaled_by_the_field_of_the_newer_writer() {
        for (json, scales) in [
            ("{}", true),
            (r#"{"tie_word_embeddings": true}"#, true),
            (r#"{"tie_word_embeddings": false}"#, false),
            (
                r#"{"tie_word_embeddings": true, "scale_decoder_outputs": false}"#,
                false,
            ),
            (
                r#"{"tie_word_embeddings": false, "scale_decoder_outputs": true}"#,
                true,
            ),
        ] {
            assert_eq!(read(json).unwrap().scale_decoder_outputs, scales, "{json}");
        }
    }

    #[test]
    fn there_may_be_no_end_token_or_several() {
        for (json, expected) in [
            ("{}", vec![1]),
            (r#"{"eos_token_id": 3}"#, vec![3]),
            (r#"{"eos_token_id": null}"#, vec![]),
            (r#"{"eos_token_id": [1, 5]}"#, vec![1, 5]),
        ] {
            assert_eq!(read(json).unwrap().eos_token_ids, expected, "{json}");
        }
        let config = read(r#"{"pad_token_id": null, "decoder_start_token_id": 2}"#).unwrap();
        assert_eq!((config.pad_token_id, config.decoder_start_token_id), (0, 2));
    }

    #[test]
    fn activations_that_contradict_each_other_are_refused() {
        for json in [
            r#"{"dense_act_fn": "relu", "is_gated_act": false}"#,
            r#"{"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new", "is_gated_act": true}"#,
            r#"{"feed_forward_proj": "gated-silu", "dense_act_fn": "silu"}"#,
        ] {
            assert!(read(json).is_ok(), "{json}");
        }
        for (json, expected) in [
            (r#"{"dense_act_fn": "gelu_new"}"#, "dense_act_fn"),
            (
                r#"{"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu"}"#,
                "dense_act_fn",
            ),
            (r#"{"is_gated_act": true}"#, "is_gated_act"),
            (r#"{"tie_encoder_decoder": true}"#, "tie_encoder_decoder"),
        ] {
            match read(json).unwrap_err() {
                Error::Config { field, .. } => assert_eq!(field, expected),
                other => panic!("{other}"),
            }
        }
    }
}
