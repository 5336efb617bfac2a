//! The stack of layers below the output head.

use burn::module::Module;
use burn::nn::{Embedding, Linear, RmsNorm};
use burn::tensor::{Int, Tensor};
use burn_flex_fused::swiglu;
use burn_peft::ForwardAdapted;

use super::LlamaInput;
use super::attention::{LlamaAttention, Past, Surroundings};
use super::mask::{causal, padding};
use super::norm::rms_norm;
use super::rope::Rotary;
use crate::error::Error;

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
    /// Angles of rotary positions, see [`RopeScaling`](super::RopeScaling).
    #[module(skip)]
    pub(super) frequencies: Vec<f64>,
}

/// Attention and a gated feed-forward network, each after a norm and with a residual connection.
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
    /// Norm before the feed-forward network.
    pub post_attention_layernorm: RmsNorm,
    /// Feed-forward network.
    pub mlp: LlamaMlp,
}

/// `down(silu(gate(x)) * up(x))` (SwiGLU, Shazeer 2020, arXiv 2002.05202).
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::llama::LlamaConfig;
///
/// let model = LlamaConfig::new(100, 32, 64, 2, 4).init(&Device::flex())?;
/// assert_eq!(model.model.layers[0].mlp.up_proj.weight.dims(), [32, 64]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct LlamaMlp {
    /// `[d, hidden]`.
    pub gate_proj: Linear,
    /// `[d, hidden]`.
    pub up_proj: Linear,
    /// `[hidden, d]`.
    pub down_proj: Linear,
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
        let [_, tokens] = input.input_ids.dims();
        let hidden = self.embed(input.input_ids, input.prompt);
        let [_, length, _] = hidden.dims();
        let positions = match input.position_ids {
            Some(ids) => host_rows(ids),
            None => vec![(0..length as i64).collect()],
        };
        let padding = input
            .attention_mask
            .map(|mask| padding(mask, length - tokens));
        let around = Surroundings {
            rotary: Rotary::new(&self.frequencies, &positions, &hidden),
            mask: causal([length, length], padding, &hidden.device()),
        };
        Ok(self.run(hidden, &around, None))
    }

    /// Vectors of `ids` `[M, T]` behind those of the prompt.
    pub(super) fn embed(&self, ids: Tensor<2, Int>, prompt: Option<Tensor<3>>) -> Tensor<3> {
        let hidden = self.embed_tokens.forward_adapted(ids);
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
        rms_norm(&self.norm, hidden)
    }
}

impl LlamaDecoderLayer {
    fn forward(&self, x: Tensor<3>, around: &Surroundings, past: Option<&mut Past>) -> Tensor<3> {
        let normal = rms_norm(&self.input_layernorm, x.clone());
        let x = x + self.self_attn.forward(normal, around, past);
        let normal = rms_norm(&self.post_attention_layernorm, x.clone());
        x + self.mlp.forward(normal)
    }
}

impl LlamaMlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let gate = self.gate_proj.forward_adapted(x.clone());
        let up = self.up_proj.forward_adapted(x);
        self.down_proj.forward_adapted(swiglu(gate, up))
    }
}

/// The rows of an integer tensor, on the host.
pub(super) fn host_rows(ids: Tensor<2, Int>) -> Vec<Vec<i64>> {
    let [_, length] = ids.dims();
    let data = ids.into_data();
    let values: Vec<i64> = data.iter::<i64>().collect();
    values.chunks(length.max(1)).map(<[i64]>::to_vec).collect()
}
