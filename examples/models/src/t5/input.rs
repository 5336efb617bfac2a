//! What goes into a T5, and what comes out.

use burn::tensor::{Int, Tensor};

use crate::error::Error;

/// What the encoder reads.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::t5::T5Source;
///
/// let ids = Tensor::<2, Int>::from_data([[5, 6, 1], [7, 1, 0]], &Device::flex());
/// let mask = ids.clone().not_equal_elem(0).int();
/// let source = T5Source::new(ids).with_attention_mask(mask);
/// assert!(source.prompt.is_none());
/// ```
#[derive(Debug, Clone)]
pub struct T5Source {
    /// Token ids `[M, T]`, each below `vocab_size`.
    pub input_ids: Tensor<2, Int>,
    /// 1, or 0 at padding, `[M, T]`; without it there is no padding.
    pub attention_mask: Option<Tensor<2, Int>>,
    /// Embeddings `[M, V, d_model]` of virtual tokens, which the encoder reads before its input;
    /// they are never padding, and the decoder stays as it is.
    pub prompt: Option<Tensor<3>>,
}

impl T5Source {
    /// Token ids `[M, T]` without padding.
    pub fn new(input_ids: Tensor<2, Int>) -> Self {
        Self {
            input_ids,
            attention_mask: None,
            prompt: None,
        }
    }

    /// Tell tokens (1) from padding (0), `[M, T]`.
    pub fn with_attention_mask(mut self, attention_mask: Tensor<2, Int>) -> Self {
        self.attention_mask = Some(attention_mask);
        self
    }

    /// Put virtual tokens `[M, V, d_model]` before the input.
    pub fn with_prompt(mut self, prompt: Tensor<3>) -> Self {
        self.prompt = Some(prompt);
        self
    }
}

/// Input of [`T5ForConditionalGeneration::forward`](super::T5ForConditionalGeneration::forward).
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::t5::{T5Input, T5Source};
///
/// let ids = Tensor::<2, Int>::from_data([[5, 6, 1]], &Device::flex());
/// let start = Tensor::<2, Int>::from_data([[0]], &Device::flex());
/// let input = T5Input::new(T5Source::new(ids), start);
/// assert!(input.attention_mask.is_none());
/// ```
#[derive(Debug, Clone)]
pub struct T5Input {
    /// See [`T5Source::input_ids`].
    pub input_ids: Tensor<2, Int>,
    /// See [`T5Source::attention_mask`].
    pub attention_mask: Option<Tensor<2, Int>>,
    /// Token ids `[M, U]` of the decoder, the start token first
    /// ([`shift_right`](super::T5Config::shift_right) makes them of labels).
    pub decoder_input_ids: Tensor<2, Int>,
    /// See [`T5Source::prompt`].
    pub prompt: Option<Tensor<3>>,
}

impl T5Input {
    /// What the encoder reads, and the decoder's token ids `[M, U]`.
    pub fn new(source: T5Source, decoder_input_ids: Tensor<2, Int>) -> Self {
        Self {
            input_ids: source.input_ids,
            attention_mask: source.attention_mask,
            decoder_input_ids,
            prompt: source.prompt,
        }
    }
}

/// Output of [`T5ForConditionalGeneration::forward`](super::T5ForConditionalGeneration::forward).
///
/// ```
/// # use burn::tensor::{Device, Int, Tensor};
/// # use burn_hf_models::t5::{T5Config, T5Input, T5Source};
/// # let json = r#"{"vocab_size": 20, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1,
/// #     "num_heads": 2}"#;
/// # let t5 = T5Config::from_json(json)?.init(&Device::flex())?;
/// # let ids = Tensor::<2, Int>::from_data([[5, 6, 1]], &Device::flex());
/// # let start = Tensor::<2, Int>::from_data([[0]], &Device::flex());
/// let output = t5.forward(T5Input::new(T5Source::new(ids), start))?;
/// assert_eq!(output.encoder_last_hidden_state.dims(), [1, 3, 8]);
/// assert_eq!(output.decoder_last_hidden_state.dims(), [1, 1, 8]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct T5Output {
    /// Logits of the token after each of the decoder's, `[M, U, vocab_size]`.
    pub logits: Tensor<3>,
    /// `[M, U, d_model]`, after the last norm.
    pub decoder_last_hidden_state: Tensor<3>,
    /// `[M, V + T, d_model]`, after the last norm.
    pub encoder_last_hidden_state: Tensor<3>,
}

pub(super) fn not_empty(name: &'static str, ids: &Tensor<2, Int>) -> Result<(), Error> {
    match ids.dims() {
        [0, _] | [_, 0] => Err(Error::Input {
            name,
            reason: format!("has the shape {:?}, expected tokens", ids.dims()),
        }),
        _ => Ok(()),
    }
}

pub(super) fn fits(
    name: &'static str,
    axis: &str,
    found: usize,
    expected: usize,
) -> Result<(), Error> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::Input {
            name,
            reason: format!("has {found} {axis}, expected {expected}"),
        })
    }
}
