//! What attention does in addition to its two products.

use burn::tensor::{Bool, DType, Tensor};

use crate::dropout::Dropout;

/// Options of [`attention`](crate::attention).
///
/// The scores of query t and key u are formed in this order: the product, times the scale; the soft
/// cap; plus the bias; the score of a left-out key where a mask leaves the key out.
///
/// ```
/// use burn_flex_fused::AttentionOptions;
///
/// let options = AttentionOptions::new(8)
///     .with_key_value_heads(2)
///     .with_causal(true)
///     .with_window(Some(1024));
/// assert_eq!(options.heads, 8);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AttentionOptions {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; each is shared by `heads / key_value_heads` query heads that follow
    /// each other.
    pub key_value_heads: usize,
    /// Factor of the products; `None` is `1 / √width` for the width of a query's head.
    pub scale: Option<f64>,
    /// `cap · tanh(score / cap)` instead of the score.
    pub soft_cap: Option<f64>,
    /// Leave out keys behind the query. The last query is at the last key: query t sees the keys up
    /// to `t + U - T`.
    pub causal: bool,
    /// Leave out keys that are this far from the query, or farther. In a causal attention a query
    /// sees this many keys, its own included.
    pub window: Option<usize>,
    /// True for keys to leave out, `[M, U]`, or `[1, U]` for all samples.
    pub padding: Option<Tensor<2, Bool>>,
    /// True for pairs to leave out, `[M, T, U]`; `M` and `T` may be 1 for all samples or queries.
    pub mask: Option<Tensor<3, Bool>>,
    /// Added to the scores, `[M, heads, T, U]`; each size may be 1.
    pub bias: Option<Tensor<4>>,
    /// The score of a key that is left out.
    pub left_out: LeftOut,
    /// Dropout of the weights.
    pub dropout: Option<Dropout>,
}

/// The score of a key that is left out, which decides what a query gets that sees no key at all.
///
/// A query whose scores are all `-∞` for another reason (the bias) gets zeros with
/// [`NegativeInfinity`](Self::NegativeInfinity) and NaN otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum LeftOut {
    /// `-∞`: such a query gets zeros, as in Burn's `attention`.
    #[default]
    NegativeInfinity,
    /// The lowest finite number of the dtype: such a query gets the mean of all values, as in
    /// `transformers`.
    Lowest,
    /// A finite number, as in Burn's `MultiHeadAttention`. Keys are left out only as far as other
    /// scores are above it.
    Value(f64),
}

impl LeftOut {
    /// The score in this dtype, or in f32 for narrower ones. A number beyond f32 is infinite there.
    pub(crate) fn score(self, dtype: DType) -> f64 {
        match (self, dtype) {
            (Self::NegativeInfinity, _) => f64::NEG_INFINITY,
            (Self::Lowest, DType::F64) => f64::MIN,
            (Self::Lowest, _) => f64::from(f32::MIN),
            (Self::Value(score), DType::F64) => score,
            (Self::Value(score), _) => f64::from(score as f32),
        }
    }
}

impl AttentionOptions {
    /// No masks, as many heads of keys and values as of queries.
    pub fn new(heads: usize) -> Self {
        Self {
            heads,
            key_value_heads: heads,
            scale: None,
            soft_cap: None,
            causal: false,
            window: None,
            padding: None,
            mask: None,
            bias: None,
            left_out: LeftOut::default(),
            dropout: None,
        }
    }

    /// Set [`key_value_heads`](Self::key_value_heads).
    pub fn with_key_value_heads(mut self, heads: usize) -> Self {
        self.key_value_heads = heads;
        self
    }

    /// Set [`scale`](Self::scale).
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.scale = Some(scale);
        self
    }

    /// Set [`soft_cap`](Self::soft_cap).
    pub fn with_soft_cap(mut self, cap: Option<f64>) -> Self {
        self.soft_cap = cap;
        self
    }

    /// Set [`causal`](Self::causal).
    pub fn with_causal(mut self, causal: bool) -> Self {
        self.causal = causal;
        self
    }

    /// Set [`window`](Self::window).
    pub fn with_window(mut self, window: Option<usize>) -> Self {
        self.window = window;
        self
    }

    /// Set [`padding`](Self::padding).
    pub fn with_padding(mut self, padding: Option<Tensor<2, Bool>>) -> Self {
        self.padding = padding;
        self
    }

    /// Set [`mask`](Self::mask).
    pub fn with_mask(mut self, mask: Option<Tensor<3, Bool>>) -> Self {
        self.mask = mask;
        self
    }

    /// Set [`bias`](Self::bias).
    pub fn with_bias(mut self, bias: Option<Tensor<4>>) -> Self {
        self.bias = bias;
        self
    }

    /// Set [`left_out`](Self::left_out).
    pub fn with_left_out(mut self, left_out: LeftOut) -> Self {
        self.left_out = left_out;
        self
    }

    /// Set [`dropout`](Self::dropout).
    pub fn with_dropout(mut self, dropout: Option<Dropout>) -> Self {
        self.dropout = dropout;
        self
    }
}
