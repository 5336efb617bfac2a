//! What goes into a model, and what comes out.

use burn::tensor::{Int, Tensor};
use burn_ief::recorder;

use crate::error::Error;

/// Input of a [`LlamaForCausalLM`](super::LlamaForCausalLM).
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::llama::LlamaInput;
///
/// let device = Device::flex();
/// let ids = Tensor::<2, Int>::from_data([[5, 7, 9], [1, 2, 0]], &device);
/// let mask = Tensor::<2, Int>::from_data([[1, 1, 1], [1, 1, 0]], &device);
/// let input = LlamaInput::new(ids).with_attention_mask(mask);
/// assert!(input.prompt.is_none());
/// ```
#[derive(Debug, Clone)]
pub struct LlamaInput {
    /// Tokens, `[M, T]`.
    pub input_ids: Tensor<2, Int>,
    /// Vectors of V virtual tokens before the others, `[M, V, d]`.
    pub prompt: Option<Tensor<3>>,
    /// Keys and values of V positions before the tokens in every layer, `[M, V, 2 · layers · width]` with the
    /// width of a layer's keys, in the place of a prompt ([`KeyValuePrefix`](burn_peft::KeyValuePrefix)).
    pub prefix: Option<Tensor<3>>,
    /// 1 for tokens, 0 for padding on either side, `[M, T]`; without it all are tokens. Virtual
    /// tokens of the prompt are not part of it and always seen.
    pub attention_mask: Option<Tensor<2, Int>>,
    /// Positions, `[M, V + T]`, or `[1, V + T]` for all samples; without them 0, 1, … from the
    /// first virtual token on, padding counted, as in `transformers`. With a prefix those of the
    /// tokens alone, `[M, T]` or `[1, T]`, and without them V, V + 1, ….
    pub position_ids: Option<Tensor<2, Int>>,
}

impl LlamaInput {
    /// Tokens `[M, T]` without padding.
    pub fn new(input_ids: Tensor<2, Int>) -> Self {
        Self {
            input_ids,
            prompt: None,
            prefix: None,
            attention_mask: None,
            position_ids: None,
        }
    }

    /// Register the attention mask, `[M, T]`.
    pub fn with_attention_mask(self, mask: Tensor<2, Int>) -> Self {
        Self {
            attention_mask: Some(mask),
            ..self
        }
    }

    /// Register positions, `[M, V + T]` or `[1, V + T]`.
    pub fn with_position_ids(self, ids: Tensor<2, Int>) -> Self {
        Self {
            position_ids: Some(ids),
            ..self
        }
    }

    /// Register the vectors of a soft prompt, `[M, V, d]`.
    pub fn with_prompt(self, prompt: Tensor<3>) -> Self {
        Self {
            prompt: Some(prompt),
            ..self
        }
    }

    /// Register keys and values of virtual positions, `[M, V, 2 · layers · width]`.
    pub fn with_prefix(self, prefix: Tensor<3>) -> Self {
        Self {
            prefix: Some(prefix),
            ..self
        }
    }

    /// Check the shape of the prefix for a model with this many layers and keys of this width.
    pub(super) fn check_prefix(&self, layers: usize, keys: usize) -> Result<(), Error> {
        let Some(prefix) = &self.prefix else {
            return Ok(());
        };
        if self.prompt.is_some() {
            return refuse(
                "prefix",
                "is there next to a prompt: expected one of them".into(),
            );
        }
        let [batch, _] = self.input_ids.dims();
        // With drawn labels the prefix may be expanded to the copies already.
        let copied = recorder().map_or(batch, |recorder| recorder.batch_size(batch));
        let [rows, positions, found] = prefix.dims();
        let width = 2 * layers * keys;
        if found == width && (rows == batch || rows == copied) {
            return Ok(());
        }
        let (found, expected) = (prefix.dims(), [batch, positions, width]);
        refuse(
            "prefix",
            format!("has the shape {found:?}, expected {expected:?}"),
        )
    }

    /// Check all shapes for a model of `width`.
    pub(super) fn check_shapes(&self, width: usize) -> Result<(), Error> {
        let [batch, tokens] = self.input_ids.dims();
        if batch == 0 || tokens == 0 {
            return refuse("input_ids", format!("is empty, [{batch}, {tokens}]"));
        }
        if let Some(mask) = &self.attention_mask {
            shaped("attention_mask", mask.dims(), &[batch], tokens)?;
        }
        if let Some(ids) = &self.position_ids {
            let length = self.virtual_tokens() + tokens;
            shaped("position_ids", ids.dims(), &[batch, 1], length)?;
        }
        let Some(prompt) = &self.prompt else {
            return Ok(());
        };
        // With drawn labels the prompt may be expanded to the copies already.
        let copied = recorder().map_or(batch, |recorder| recorder.batch_size(batch));
        let [rows, virtual_tokens, found] = prompt.dims();
        if found == width && (rows == batch || rows == copied) {
            return Ok(());
        }
        let (found, expected) = (prompt.dims(), [batch, virtual_tokens, width]);
        refuse(
            "prompt",
            format!("has the shape {found:?}, expected {expected:?}"),
        )
    }

    /// V, the number of positions of the prefix.
    pub(super) fn prefix_length(&self) -> usize {
        self.prefix.as_ref().map_or(0, |prefix| prefix.dims()[1])
    }

    /// V, the number of virtual tokens.
    pub(super) fn virtual_tokens(&self) -> usize {
        self.prompt.as_ref().map_or(0, |prompt| prompt.dims()[1])
    }
}

/// Output of a [`LlamaForCausalLM`](super::LlamaForCausalLM).
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::llama::{LlamaConfig, LlamaInput};
///
/// let device = Device::flex();
/// let model = LlamaConfig::new(100, 32, 64, 2, 4).init(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[5, 7, 9]], &device);
/// let prompt = Tensor::<3>::zeros([1, 4, 32], &device);
/// let output = model.forward(LlamaInput::new(ids).with_prompt(prompt))?;
/// assert_eq!(output.last_hidden_state.dims(), [1, 7, 32]);
/// assert_eq!(output.logits.dims(), [1, 7, 100]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LlamaOutput {
    /// After the last norm, `[M, V + T, d]`, virtual tokens of a prompt first.
    pub last_hidden_state: Tensor<3>,
    /// For the token after each position, `[M, V + T, vocabulary]`.
    pub logits: Tensor<3>,
}

fn refuse(name: &'static str, reason: String) -> Result<(), Error> {
    Err(Error::Input { name, reason })
}

fn shaped(
    name: &'static str,
    found: [usize; 2],
    rows: &[usize],
    length: usize,
) -> Result<(), Error> {
    if rows.contains(&found[0]) && found[1] == length {
        Ok(())
    } else {
        let expected = [rows[0], length];
        refuse(
            name,
            format!("has the shape {found:?}, expected {expected:?}"),
        )
    }
}
