//! Sizes and options of a model.

use burn::config::Config;

use super::feed_forward::GateActivation;
use crate::error::Error;
use crate::fields::{
    check_layers, check_positive, check_probability, check_size, check_table, require,
};
use crate::generate::Sampling;
use crate::rope::{Rope, RopeScaling};

/// Sizes and options of a [`LlamaForCausalLM`](super::LlamaForCausalLM); what is not given is as in `transformers`'
/// `LlamaConfig`.
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::llama::LlamaConfig;
///
/// // Vocabulary, width, width of the feed-forward network, layers, attention heads.
/// let config = LlamaConfig::new(100, 32, 64, 2, 4).with_num_key_value_heads(Some(2));
/// assert_eq!(config.head_width(), 8);
/// let model = config.init(&Device::flex().autodiff())?;
/// assert_eq!(model.model.layers.len(), 2);
/// assert!(config.with_num_key_value_heads(Some(3)).validate().is_err());
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Entries V of the vocabulary.
    pub vocab_size: usize,
    /// Width d of a token.
    pub hidden_size: usize,
    /// Width of the hidden layer of a feed-forward network.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads of the queries.
    pub num_attention_heads: usize,
    /// Attention heads of keys and values, each shared by a group of query heads; without it as
    /// many as query heads.
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; without it `hidden_size / num_attention_heads`.
    pub head_dim: Option<usize>,
    /// Added to the mean square in a norm.
    #[config(default = 1e-6)]
    pub rms_norm_eps: f64,
    /// Base of the wave lengths of rotary positions.
    #[config(default = 10000.0)]
    pub rope_theta: f64,
    /// Stretching of the wave lengths for longer texts.
    #[config(default = "RopeScaling::None")]
    pub rope_scaling: RopeScaling,
    /// Positions of the longest text that the model was made for. It computes longer ones, too, but
    /// does so badly; see [`context_length`](Self::context_length).
    pub max_position_embeddings: Option<usize>,
    /// The part of a head's entries that is rotated, the first ones.
    #[config(default = 1.0)]
    pub partial_rotary_factor: f64,
    /// Base of the wave lengths in sliding layers; without it theirs are as in the others.
    pub local_rope_theta: Option<f64>,
    /// Stretching of the wave lengths in sliding layers, if they have their own base.
    #[config(default = "RopeScaling::None")]
    pub local_rope_scaling: RopeScaling,
    /// Whether each layer rotates queries and keys; empty if all do.
    #[config(default = "Vec::new()")]
    pub rotated_layers: Vec<bool>,
    /// Keys that a query in a sliding layer sees, its own position included.
    pub sliding_window: Option<usize>,
    /// Whether each layer is a sliding one; empty if none is.
    #[config(default = "Vec::new()")]
    pub sliding_layers: Vec<bool>,
    /// The scores are divided by the square root of this; of the width of a head without it.
    pub query_pre_attn_scalar: Option<f64>,
    /// `cap · tanh(score / cap)` takes the place of an attention score.
    pub attn_logit_softcapping: Option<f64>,
    /// `cap · tanh(logit / cap)` takes the place of a logit.
    pub final_logit_softcapping: Option<f64>,
    /// Whether a norm follows the projections to queries and keys, over each head.
    #[config(default = false)]
    pub head_norms: bool,
    /// Whether a norm follows attention and feed-forward networks, next to the one before them.
    #[config(default = false)]
    pub output_norms: bool,
    /// Whether norms multiply by 1 + weight.
    #[config(default = false)]
    pub unit_offset_norms: bool,
    /// Whether token vectors are multiplied by the square root of their width.
    #[config(default = false)]
    pub scaled_embeddings: bool,
    /// Whether one projection makes queries, keys and values, and one makes gate and input of a
    /// feed-forward network.
    #[config(default = false)]
    pub fused_projections: bool,
    /// Activation of the gates.
    #[config(default = "GateActivation::Silu")]
    pub activation: GateActivation,
    /// Biases of the query, key and value projections.
    #[config(default = false)]
    pub qkv_bias: bool,
    /// Bias of the attention's output projection.
    #[config(default = false)]
    pub output_bias: bool,
    /// Biases of the feed-forward networks.
    #[config(default = false)]
    pub mlp_bias: bool,
    /// Whether the embedding table is the output head, too.
    #[config(default = false)]
    pub tie_word_embeddings: bool,
    /// Probability of dropping an attention weight in training.
    #[config(default = 0.0)]
    pub attention_dropout: f64,
    /// Probability of dropping an output of an attention or a feed-forward network in training.
    #[config(default = 0.0)]
    pub residual_dropout: f64,
    /// Standard deviation of new weights.
    #[config(default = 0.02)]
    pub initializer_range: f64,
    /// Tokens that end a text.
    #[config(default = "Vec::new()")]
    pub eos: Vec<i64>,
    /// The token that fills up shorter texts of a batch.
    pub pad: Option<i64>,
}

impl LlamaConfig {
    /// Width of an attention head.
    pub fn head_width(&self) -> usize {
        self.head_dim
            .unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    /// Heads of keys and values.
    pub fn key_value_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// Width of a layer's keys, all heads together.
    pub fn key_width(&self) -> usize {
        self.key_value_heads() * self.head_width()
    }

    /// Entries of a head that are rotated, rounded down.
    pub fn rotary_width(&self) -> usize {
        (self.head_width() as f64 * self.partial_rotary_factor) as usize
    }

    /// Tokens of the longest text that the model was made for, if the folder says so: the positions
    /// that it names, or those to which its scaling stretches them, if these are more.
    ///
    /// ```
    /// use burn_hf_models::llama::{LlamaConfig, RopeScaling};
    ///
    /// let config = LlamaConfig::new(100, 32, 64, 2, 4).with_max_position_embeddings(Some(64));
    /// assert_eq!(config.context_length(), Some(64));
    /// let stretched = config.with_rope_scaling(RopeScaling::Linear { factor: 4.0 });
    /// assert_eq!(stretched.context_length(), Some(256));
    /// ```
    pub fn context_length(&self) -> Option<usize> {
        let named = self.max_position_embeddings?;
        let stretched = match &self.rope_scaling {
            RopeScaling::Linear { factor } => named as f64 * factor,
            RopeScaling::Dynamic {
                factor,
                max_position_embeddings,
            } => max_position_embeddings * factor,
            RopeScaling::Yarn {
                factor,
                original_max_position_embeddings,
                ..
            }
            | RopeScaling::Llama3 {
                factor,
                original_max_position_embeddings,
                ..
            } => original_max_position_embeddings * factor,
            RopeScaling::None | RopeScaling::LongRope { .. } => 0.0,
        };
        Some(named.max(stretched as usize))
    }

    /// Whether the layer rotates queries and keys.
    pub(super) fn rotates(&self, layer: usize) -> bool {
        self.rotated_layers
            .get(layer)
            .is_none_or(|&rotates| rotates)
    }

    /// The window of a layer.
    pub(super) fn window(&self, layer: usize) -> Option<usize> {
        let slides = self.sliding_layers.get(layer).is_some_and(|&slides| slides);
        self.sliding_window.filter(|_| slides)
    }

    /// The rotations of layers that see all keys.
    pub(super) fn rope(&self) -> Rope {
        Rope {
            theta: self.rope_theta,
            width: self.rotary_width(),
            scaling: self.rope_scaling.clone(),
        }
    }

    /// The rotations of sliding layers, if they have their own.
    pub(super) fn local_rope(&self) -> Option<Rope> {
        self.local_rope_theta.map(|theta| Rope {
            theta,
            width: self.rotary_width(),
            scaling: self.local_rope_scaling.clone(),
        })
    }

    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range or does not fit another.
    pub fn validate(&self) -> Result<(), Error> {
        for (field, size) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
        ] {
            check_size(field, size)?;
        }
        check_layers("num_hidden_layers", self.num_hidden_layers)?;
        let (heads, shared) = (self.num_attention_heads, self.key_value_heads());
        require(
            shared > 0 && heads.is_multiple_of(shared),
            "num_key_value_heads",
            shared,
            format!("a divisor of num_attention_heads = {heads}"),
        )?;
        require(
            self.head_dim.is_some() || self.hidden_size.is_multiple_of(heads),
            "hidden_size",
            self.hidden_size,
            format!("a multiple of num_attention_heads = {heads}"),
        )?;
        let width = self.head_width();
        check_size("head_dim", width)?;
        require(width.is_multiple_of(2), "head_dim", width, "an even number")?;
        check_table("vocab_size", self.vocab_size, self.hidden_size)?;
        check_table(
            "intermediate_size",
            self.intermediate_size,
            self.hidden_size,
        )?;
        // Sizes are below 2^24.
        check_table("head_dim", width * heads, self.hidden_size)?;
        check_positive("rms_norm_eps", self.rms_norm_eps)?;
        check_positive("rope_theta", self.rope_theta)?;
        check_probability("attention_dropout", self.attention_dropout)?;
        check_probability("residual_dropout", self.residual_dropout)?;
        let spread = self.initializer_range;
        require(
            spread.is_finite() && spread >= 0.0,
            "initializer_range",
            spread,
            "a finite number from 0",
        )?;
        self.validate_layers()?;
        for (field, value) in [
            ("query_pre_attn_scalar", self.query_pre_attn_scalar),
            ("attn_logit_softcapping", self.attn_logit_softcapping),
            ("final_logit_softcapping", self.final_logit_softcapping),
            ("local_rope_theta", self.local_rope_theta),
        ] {
            value.map_or(Ok(()), |value| check_positive(field, value))?;
        }
        let part = self.partial_rotary_factor;
        require(
            part > 0.0 && part <= 1.0 && self.rotary_width() > 0,
            "partial_rotary_factor",
            part,
            format!("a part of the {width} entries of a head, above 0 and at most 1"),
        )?;
        self.rope().validate()?;
        self.local_rope().map_or(Ok(()), |rope| rope.validate())
    }

    /// Check what layers have of their own.
    fn validate_layers(&self) -> Result<(), Error> {
        let layers = self.num_hidden_layers;
        for (field, list) in [
            ("rotated_layers", &self.rotated_layers),
            ("sliding_layers", &self.sliding_layers),
        ] {
            require(
                list.is_empty() || list.len() == layers,
                field,
                format!("{} entries", list.len()),
                format!("none, or one for each of num_hidden_layers = {layers}"),
            )?;
        }
        let expected = "at least 1, and a number if there are sliding layers";
        match self.sliding_window {
            Some(window) => require(window > 0, "sliding_window", window, expected),
            None => {
                let slides = self.sliding_layers.contains(&true);
                require(!slides, "sliding_window", "nothing", expected)
            }
        }
    }

    /// Greedy generation of up to `max_new_tokens`, with the end and padding tokens of this model.
    pub fn sampling(&self, max_new_tokens: usize) -> Sampling {
        Sampling::new(max_new_tokens)
            .with_eos(self.eos.clone())
            .with_pad(self.pad)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use burn::module::Module;

    #[test]
    fn each_field_is_checked_by_name() {
        let config = || LlamaConfig::new(10, 8, 6, 1, 2);
        assert!(config().validate().is_ok());
        let linear = |factor| RopeScaling::Linear { factor };
        for (config, expected) in [
            (LlamaConfig::new(0, 8, 6, 1, 2), "vocab_size"),
            (LlamaConfig::new(10, 0, 6, 1, 2), "hidden_size"),
            (LlamaConfig::new(10, 8, 0, 1, 2), "intermediate_size"),
            (LlamaConfig::new(10, 8, 6, 0, 2), "num_hidden_layers"),
            (
                LlamaConfig::new(10, 8, 6, usize::MAX, 2),
                "num_hidden_layers",
            ),
            (LlamaConfig::new(usize::MAX, 8, 6, 1, 2), "vocab_size"),
            (LlamaConfig::new(10, 8, 6, 1, 0), "num_attention_heads"),
            (LlamaConfig::new(10, 8, 6, 1, 3), "hidden_size"),
            (LlamaConfig::new(10, 6, 6, 1, 2), "head_dim"),
            (
                config().with_num_key_value_heads(Some(0)),
                "num_key_value_heads",
            ),
            (
                config().with_num_key_value_heads(Some(4)),
                "num_key_value_heads",
            ),
            (config().with_head_dim(Some(0)), "head_dim"),
            (config().with_head_dim(Some(3)), "head_dim"),
            (config().with_rms_norm_eps(0.0), "rms_norm_eps"),
            (config().with_rope_theta(f64::NAN), "rope_theta"),
            (config().with_attention_dropout(1.0), "attention_dropout"),
            (config().with_initializer_range(-1.0), "initializer_range"),
            (
                config().with_rope_scaling(linear(0.0)),
                "rope_scaling.factor",
            ),
        ] {
            let Err(Error::Config { field, .. }) = config.init(&Device::flex()) else {
                panic!("{config} was accepted");
            };
            assert_eq!(field, expected);
        }
    }

    #[test]
    fn sizes_count_every_parameter() {
        let config = LlamaConfig::new(10, 8, 6, 3, 2)
            .with_num_key_value_heads(Some(1))
            .with_head_dim(Some(6));
        let count = |config: &LlamaConfig| config.init(&Device::flex()).unwrap().num_params();
        // Queries and output 8 x 12, key and value 8 x 6, three of 8 x 6, two norms.
        let layer = 2 * 8 * 12 + 2 * 8 * 6 + 3 * 8 * 6 + 2 * 8;
        let untied = 2 * 10 * 8 + 3 * layer + 8;
        assert_eq!(count(&config), untied);
        let config = config.with_tie_word_embeddings(true);
        assert_eq!(count(&config), untied - 10 * 8);
        let config = config.with_qkv_bias(true);
        assert_eq!(count(&config), untied - 10 * 8 + 3 * (12 + 6 + 6));
        let config = config.with_output_bias(true).with_mlp_bias(true);
        let all = 12 + 6 + 6 + 8 + 6 + 6 + 8;
        assert_eq!(count(&config), untied - 10 * 8 + 3 * all);
    }
}
