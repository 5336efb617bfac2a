//! `config.json` of a T5.

use std::path::Path;

use burn::tensor::{Int, Tensor};
use serde::Deserialize;

use crate::error::Error;
use crate::generate::Sampling;
use crate::weights::read_config;

/// Label that `transformers` gives positions without a loss.
const NO_LABEL: i64 = -100;

/// The network between two attention layers.
///
/// ```
/// use burn_hf_models::t5::{FeedForwardProjection, T5Config};
///
/// let config = T5Config::from_json(r#"{"feed_forward_proj": "gated-silu"}"#)?;
/// assert_eq!(config.feed_forward, FeedForwardProjection::GatedSilu);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForwardProjection {
    /// `wo(relu(wi(x)))`, T5 v1.0.
    Relu,
    /// `wo(gelu(wi_0(x)) ∘ wi_1(x))` with the tanh approximation of GELU, T5 v1.1.
    GatedGelu,
    /// `wo(silu(wi_0(x)) ∘ wi_1(x))`.
    GatedSilu,
}

impl FeedForwardProjection {
    fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "relu" => Ok(Self::Relu),
            "gated-gelu" => Ok(Self::GatedGelu),
            "gated-silu" => Ok(Self::GatedSilu),
            _ => Err(Error::Config {
                field: "feed_forward_proj",
                value: format!("{name:?}"),
                expected: "one of \"relu\", \"gated-gelu\", \"gated-silu\"".into(),
            }),
        }
    }
}

/// Sizes and settings of a [`T5ForConditionalGeneration`](super::T5ForConditionalGeneration); fields that a `config.json` leaves out
/// have the defaults of `transformers` (T5-small v1.0).
///
/// ```
/// use burn_hf_models::t5::{FeedForwardProjection, T5Config};
///
/// let config = T5Config::from_json(r#"{"model_type": "t5", "feed_forward_proj": "gated-gelu"}"#)?;
/// assert_eq!(config.feed_forward, FeedForwardProjection::GatedGelu);
/// assert_eq!(config.num_decoder_layers, config.num_layers);
/// assert!(config.tie_word_embeddings);
///
/// let unknown = T5Config::from_json(r#"{"feed_forward_proj": "gated-tanh"}"#);
/// assert!(unknown.unwrap_err().to_string().contains("gated-gelu"));
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct T5Config {
    /// Tokens.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub d_model: usize,
    /// Width of a key, query or value of one head.
    pub d_kv: usize,
    /// Width between the layers of the feed-forward network.
    pub d_ff: usize,
    /// Blocks of the encoder.
    pub num_layers: usize,
    /// Blocks of the decoder.
    pub num_decoder_layers: usize,
    /// Attention heads.
    pub num_heads: usize,
    /// Rows of a table of relative positions.
    pub relative_attention_num_buckets: usize,
    /// Distance from which all positions share the last bucket.
    pub relative_attention_max_distance: usize,
    /// Dropout probability, in training.
    pub dropout_rate: f64,
    /// What is added to the mean square of a norm.
    pub layer_norm_epsilon: f64,
    /// Factor of the standard deviations of initial values.
    pub initializer_factor: f64,
    /// The network between two attention layers.
    pub feed_forward: FeedForwardProjection,
    /// Whether the output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Token that fills short rows.
    pub pad_token_id: i64,
    /// Token that ends a text.
    pub eos_token_id: i64,
    /// First token of the decoder's input.
    pub decoder_start_token_id: i64,
}

/// Fields as they are in `config.json`.
#[derive(Deserialize)]
#[serde(default)]
struct Fields {
    model_type: String,
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
    tie_word_embeddings: bool,
    pad_token_id: i64,
    eos_token_id: i64,
    decoder_start_token_id: Option<i64>,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            model_type: "t5".into(),
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
            tie_word_embeddings: true,
            pad_token_id: 0,
            eos_token_id: 1,
            decoder_start_token_id: None,
        }
    }
}

impl TryFrom<Fields> for T5Config {
    type Error = Error;

    fn try_from(fields: Fields) -> Result<Self, Error> {
        if fields.model_type != "t5" {
            return Err(Error::Config {
                field: "model_type",
                value: format!("{:?}", fields.model_type),
                expected: "\"t5\"".into(),
            });
        }
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
            feed_forward: FeedForwardProjection::parse(&fields.feed_forward_proj)?,
            tie_word_embeddings: fields.tie_word_embeddings,
            pad_token_id: fields.pad_token_id,
            eos_token_id: fields.eos_token_id,
            decoder_start_token_id: fields.decoder_start_token_id.unwrap_or(fields.pad_token_id),
        };
        config.validate()?;
        Ok(config)
    }
}

impl T5Config {
    /// Read `config.json` of a folder.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] or [`Error::Json`] for a file that is absent or no configuration,
    /// [`Error::Config`] naming a field with a value that is not supported.
    pub fn from_folder(folder: &Path) -> Result<Self, Error> {
        read_config::<Fields>(folder)?.try_into()
    }

    /// Parse the text of a `config.json`.
    ///
    /// # Errors
    ///
    /// As [`from_folder`](Self::from_folder).
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let fields: Fields = serde_json::from_str(text).map_err(|error| Error::Json {
            path: "config.json".into(),
            reason: error.to_string(),
        })?;
        fields.try_into()
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_layers", self.num_layers),
            ("num_decoder_layers", self.num_decoder_layers),
            ("num_heads", self.num_heads),
        ];
        for (field, size) in sizes {
            refuse_unless(size > 0, field, size, "at least 1")?;
        }
        let buckets = self.relative_attention_num_buckets;
        refuse_unless(
            buckets >= 4 && buckets.is_multiple_of(2),
            "relative_attention_num_buckets",
            buckets,
            "an even number from 4",
        )?;
        let distance = self.relative_attention_max_distance;
        refuse_unless(
            distance > buckets / 2,
            "relative_attention_max_distance",
            distance,
            "more than half of relative_attention_num_buckets",
        )?;
        refuse_unless(
            (0.0..1.0).contains(&self.dropout_rate),
            "dropout_rate",
            self.dropout_rate,
            "a number from 0 below 1",
        )?;
        for (field, value) in [
            ("layer_norm_epsilon", self.layer_norm_epsilon),
            ("initializer_factor", self.initializer_factor),
        ] {
            let fits = value.is_finite() && value > 0.0;
            refuse_unless(fits, field, value, "a finite number above 0")?;
        }
        for (field, id) in [
            ("pad_token_id", self.pad_token_id),
            ("eos_token_id", self.eos_token_id),
            ("decoder_start_token_id", self.decoder_start_token_id),
        ] {
            let known = usize::try_from(id).is_ok_and(|id| id < self.vocab_size);
            refuse_unless(known, field, id, "a token of the vocabulary")?;
        }
        Ok(())
    }

    /// The decoder's input for training on labels: the start token and all labels but the last,
    /// with labels of -100 (no loss) as padding.
    ///
    /// # Shapes
    ///
    /// - labels: `[M, T]`
    /// - output: `[M, T]`
    ///
    /// ```
    /// use burn::tensor::{Device, Int, Tensor};
    /// use burn_hf_models::t5::T5Config;
    ///
    /// let labels = Tensor::<2, Int>::from_data([[8, 1, -100], [8, 9, 1]], &Device::flex());
    /// let ids = T5Config::from_json("{}")?.shift_right(labels);
    /// let ids = ids.into_data().convert::<i64>().try_to_vec::<i64>().unwrap();
    /// assert_eq!(ids, [0, 8, 1, 0, 8, 9]);
    /// # Ok::<(), burn_hf_models::Error>(())
    /// ```
    pub fn shift_right(&self, labels: Tensor<2, Int>) -> Tensor<2, Int> {
        let [_, positions] = labels.dims();
        if positions == 0 {
            return labels;
        }
        let start = labels
            .clone()
            .narrow(1, 0, 1)
            .mul_scalar(0)
            .add_scalar(self.decoder_start_token_id);
        let shifted = match positions {
            1 => start,
            _ => Tensor::cat(vec![start, labels.narrow(1, 0, positions - 1)], 1),
        };
        let unlabelled = shifted.clone().equal_elem(NO_LABEL);
        shifted.mask_fill(unlabelled, self.pad_token_id)
    }

    /// Greedy generation of up to `max_new_tokens`, with the end and padding tokens of this model.
    pub fn sampling(&self, max_new_tokens: usize) -> Sampling {
        Sampling::new(max_new_tokens)
            .with_eos(vec![self.eos_token_id])
            .with_pad(Some(self.pad_token_id))
    }
}

fn refuse_unless(
    fits: bool,
    field: &'static str,
    value: impl ToString,
    expected: &str,
) -> Result<(), Error> {
    if fits {
        Ok(())
    } else {
        Err(Error::Config {
            field,
            value: value.to_string(),
            expected: expected.into(),
        })
    }
}
