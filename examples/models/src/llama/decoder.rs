//! The stack of layers below the output head.

use burn::module::Module;
use burn::nn::{Dropout, Embedding, RmsNorm};
use burn::tensor::{Bool, DType, Int, Tensor};
use burn_ief::nn::ForwardRecorded;
use burn_peft::ForwardAdapted;

use super::LlamaInput;
use super::attention::{LlamaAttention, Surroundings};
use super::config::LlamaConfig;
use super::feed_forward::LlamaMlp;
use super::mask::padding;
use super::norm::rms_norm;
use super::past::Past;
use crate::error::Error;
use crate::rope::{self, Rope};

/// Token embeddings, layers, and the last norm.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_hf_models::llama::{LlamaConfig, LlamaInput};
///
/// let device = Device::flex();
/// let model = LlamaConfig::new(100, 32, 64, 2, 4).init(&device)?;
/// let ids = Tensor::<2, Int>::from_data([[5, 7, 9], [1, 2, 3]], &device);
/// let hidden = model.model.forward(LlamaInput::new(ids))?;
/// assert_eq!(hidden.dims(), [2, 3, 32]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct LlamaModel {
    /// Token vectors, `[V, d]`.
    pub embed_tokens: Embedding,
    /// Attention and feed-forward layers.
    pub layers: Vec<LlamaDecoderLayer>,
    /// Norm after the last layer.
    pub norm: RmsNorm,
    #[module(skip)]
    pub(super) config: LlamaConfig,
}

/// Attention and a gated feed-forward network, each after a norm and with a residual connection; in
/// Gemma also with a norm before the residual is added.
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::llama::LlamaConfig;
///
/// let model = LlamaConfig::new(100, 32, 64, 2, 4).init(&Device::flex())?;
/// assert_eq!(model.model.layers[1].input_layernorm.gamma.dims(), [32]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct LlamaDecoderLayer {
    /// Norm before the attention.
    pub input_layernorm: RmsNorm,
    /// Attention.
    pub self_attn: LlamaAttention,
    /// Norm before the feed-forward network; in Gemma, of the attention's output.
    pub post_attention_layernorm: RmsNorm,
    /// Norm before the feed-forward network, in Gemma.
    pub pre_feedforward_layernorm: Option<RmsNorm>,
    /// Norm of the feed-forward network's output, in Gemma.
    pub post_feedforward_layernorm: Option<RmsNorm>,
    /// Feed-forward network.
    pub mlp: LlamaMlp,
    /// Dropout of both outputs.
    pub dropout: Dropout,
    pub(super) norm_offset: f64,
}

impl LlamaModel {
    /// Hidden states after the last norm.
    ///
    /// # Shapes
    ///
    /// - input: see [`LlamaInput`]
    /// - output: `[M, V + T, d]`, with V virtual tokens of the prompt first
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if the shapes do not fit each other or the model.
    ///
    /// # Panics
    ///
    /// Panics if an id is not in the vocabulary, as a look-up in Burn does.
    pub fn forward(&self, input: LlamaInput) -> Result<Tensor<3>, Error> {
        let [_, width] = self.embed_tokens.weight.shape().dims();
        input.check_shapes(width)?;
        input.check_prefix(self.layers.len(), self.config.key_width())?;
        let [_, tokens] = input.input_ids.dims();
        let before = input.prefix_length();
        let hidden = self.embed(input.input_ids, input.prompt);
        let [_, length, _] = hidden.dims();
        let positions = match input.position_ids {
            Some(ids) => host_rows(ids),
            None => vec![(before as i64..(before + length) as i64).collect()],
        };
        let padding = input
            .attention_mask
            .map(|mask| padding(mask, before + length - tokens));
        let around = self.surroundings(&positions, rope::length(&positions), padding, &hidden);
        let mut past = input.prefix.map(|prefix| self.past_of(prefix, &hidden));
        Ok(self.run(hidden, &around, past.as_deref_mut()))
    }

    /// What all layers need to know about these positions (a row for each sample, or one for all) of
    /// texts whose largest position is `length - 1`.
    pub(super) fn surroundings(
        &self,
        positions: &[Vec<i64>],
        length: usize,
        padding: Option<Tensor<2, Bool>>,
        hidden: &Tensor<3>,
    ) -> Surroundings {
        let rotary = |rope: Rope| rope.at(positions, length, hidden);
        Surroundings {
            rotary: rotary(self.config.rope()),
            local_rotary: self.config.local_rope().map(rotary),
            padding,
            out_of_window: None,
        }
    }

    /// The keys and values of a prefix `[M, V, 2 · layers · width]` in each layer, as the hidden states are.
    pub(super) fn past_of(&self, prefix: Tensor<3>, hidden: &Tensor<3>) -> Vec<Past> {
        let prefix = burn_ief::expand_input(prefix).cast(hidden.dtype());
        let width = self.config.key_width();
        let part = |number: usize| prefix.clone().narrow(2, number * width, width);
        let layers = 0..self.layers.len();
        layers
            .map(|layer| Past::of_prefix(part(2 * layer), part(2 * layer + 1)))
            .collect()
    }

    /// Vectors of `ids` `[M, T]` behind those of the prompt.
    pub(super) fn embed(&self, ids: Tensor<2, Int>, prompt: Option<Tensor<3>>) -> Tensor<3> {
        let hidden = self.embed_tokens.forward_adapted(ids);
        let hidden = if self.config.scaled_embeddings {
            scaled(hidden)
        } else {
            hidden
        };
        // A prompt takes the place of vectors that are scaled already.
        match prompt {
            Some(prompt) => {
                let prompt = burn_ief::expand_input(prompt).cast(hidden.dtype());
                Tensor::cat(vec![prompt, hidden], 1)
            }
            None => hidden,
        }
    }

    /// Apply layers and last norm; `past` has one entry for each layer.
    pub(super) fn run(
        &self,
        mut hidden: Tensor<3>,
        around: &Surroundings,
        past: Option<&mut [Past]>,
    ) -> Tensor<3> {
        match past {
            Some(past) => {
                for (layer, past) in self.layers.iter().zip(past) {
                    hidden = layer.forward(hidden, around, Some(past));
                }
            }
            None => {
                for layer in &self.layers {
                    hidden = layer.forward(hidden, around, None);
                }
            }
        }
        rms_norm(&self.norm, hidden, self.config.norm_offset())
    }
}

impl LlamaDecoderLayer {
    fn forward(&self, x: Tensor<3>, around: &Surroundings, past: Option<&mut Past>) -> Tensor<3> {
        let attended =
            self.self_attn
                .forward(self.norm(&self.input_layernorm, x.clone()), around, past);
        let after_attention = &self.post_attention_layernorm;
        let further = (
            &self.pre_feedforward_layernorm,
            &self.post_feedforward_layernorm,
        );
        let (Some(before), Some(after)) = further else {
            let x = x + self.dropout.forward_recorded(attended);
            let hidden = self.mlp.forward(self.norm(after_attention, x.clone()));
            return x + self.dropout.forward_recorded(hidden);
        };
        let attended = self.norm(after_attention, attended);
        let x = x + self.dropout.forward_recorded(attended);
        let hidden = self.mlp.forward(self.norm(before, x.clone()));
        x + self.dropout.forward_recorded(self.norm(after, hidden))
    }

    fn norm(&self, norm: &RmsNorm, x: Tensor<3>) -> Tensor<3> {
        rms_norm(norm, x, self.norm_offset)
    }
}

/// Times the square root of the width, as a number of the same type: `transformers` rounds it to
/// that (to 34 instead of 33.94 in bf16 at a width of 1152).
fn scaled(hidden: Tensor<3>) -> Tensor<3> {
    let [_, _, width] = hidden.dims();
    let factor = (width as f64).sqrt();
    match hidden.dtype() {
        dtype @ (DType::F16 | DType::BF16) => {
            let options = (&hidden.device().inner(), dtype);
            hidden * Tensor::full([1, 1, 1], factor, options)
        }
        _ => hidden * factor,
    }
}

/// The rows of an integer tensor, on the host.
pub(super) fn host_rows(ids: Tensor<2, Int>) -> Vec<Vec<i64>> {
    let [_, length] = ids.dims();
    let data = ids.into_data();
    let values: Vec<i64> = data.iter::<i64>().collect();
    values.chunks(length.max(1)).map(<[i64]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_scale_is_rounded_to_the_type_of_the_vectors() {
        let device = Device::flex();
        for (dtype, expected) in [(DType::BF16, 34.0), (DType::F32, 1152f64.sqrt())] {
            let ones = Tensor::<3>::ones([1, 1, 1152], (&device, dtype));
            let found = scaled(ones).cast(DType::F64).max().into_scalar::<f64>();
            assert!((found - expected).abs() < 1e-5, "{dtype:?}: {found}");
        }
    }
}
