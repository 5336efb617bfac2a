//! `config.json` of a T5.

use burn::tensor::{Int, Tensor};

use crate::error::Error;
use crate::fields::{
    check_layers, check_positive, check_probability, check_size, check_table, refuse, require,
};
use crate::generate::Sampling;

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
    pub(super) fn parse(name: &str) -> Result<Self, Error> {
        match name {
            "relu" => Ok(Self::Relu),
            "gated-gelu" => Ok(Self::GatedGelu),
            "gated-silu" => Ok(Self::GatedSilu),
            _ => refuse(
                "feed_forward_proj",
                format!("`{name}`"),
                "`relu`, `gated-gelu` or `gated-silu`",
            ),
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
    /// Whether the decoder's output is multiplied by `d_model^-1/2` in front of the head, as in v1.0.
    pub scale_decoder_outputs: bool,
    /// Token that fills short rows; 0 where the file says `null`.
    pub pad_token_id: i64,
    /// Tokens that end a text; none where the file says `null`.
    pub eos_token_ids: Vec<i64>,
    /// First token of the decoder's input.
    pub decoder_start_token_id: i64,
}

impl T5Config {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        for (field, size) in [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_heads", self.num_heads),
        ] {
            check_size(field, size)?;
        }
        check_layers("num_layers", self.num_layers)?;
        check_layers("num_decoder_layers", self.num_decoder_layers)?;
        check_table("vocab_size", self.vocab_size, self.d_model)?;
        check_table("d_ff", self.d_ff, self.d_model)?;
        // Sizes are below 2^24.
        check_table("d_kv", self.d_kv * self.num_heads, self.d_model)?;
        let buckets = self.relative_attention_num_buckets;
        require(
            (4..=1 << 24).contains(&buckets) && buckets.is_multiple_of(2),
            "relative_attention_num_buckets",
            buckets,
            "an even number from 4 to 2^24",
        )?;
        let distance = self.relative_attention_max_distance;
        require(
            distance > buckets / 2,
            "relative_attention_max_distance",
            distance,
            "more than half of relative_attention_num_buckets",
        )?;
        check_probability("dropout_rate", self.dropout_rate)?;
        check_positive("layer_norm_epsilon", self.layer_norm_epsilon)?;
        check_positive("initializer_factor", self.initializer_factor)?;
        let ends = self.eos_token_ids.iter();
        let ends = ends.map(|id| ("eos_token_id", *id));
        let others = [
            ("pad_token_id", self.pad_token_id),
            ("decoder_start_token_id", self.decoder_start_token_id),
        ];
        for (field, id) in others.into_iter().chain(ends) {
            let known = usize::try_from(id).is_ok_and(|id| id < self.vocab_size);
            let expected = format!("a token of the vocabulary, 0 to {}", self.vocab_size - 1);
            require(known, field, id, expected)?;
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
            .with_eos(self.eos_token_ids.clone())
            .with_pad(Some(self.pad_token_id))
    }
}
