//! Gated feed-forward networks.

use burn::config::Config;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn_flex_fused::{gelu, gelu_approximate, silu, swiglu};
use burn_peft::ForwardAdapted;

use crate::error::Error;
use crate::fields::refuse;

/// The activation of the gates.
///
/// ```
/// use burn_hf_models::llama::GateActivation;
///
/// assert_eq!(GateActivation::named("hidden_act", "swish")?, GateActivation::Silu);
/// assert!(GateActivation::named("hidden_act", "mish").is_err());
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
#[non_exhaustive]
pub enum GateActivation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x Φ(x)`.
    Gelu,
    /// GELU with a hyperbolic tangent.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl GateActivation {
    /// The activation that `transformers` calls `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the `field` for another name than `silu`, `swish`, `gelu`, `gelu_new`,
    /// `gelu_pytorch_tanh` and `relu`.
    pub fn named(field: &'static str, name: &str) -> Result<Self, Error> {
        match name {
            "silu" | "swish" => Ok(Self::Silu),
            "gelu" => Ok(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Self::GeluTanh),
            "relu" => Ok(Self::Relu),
            other => {
                let expected = "silu, swish, gelu, gelu_new, gelu_pytorch_tanh or relu";
                refuse(field, format!("`{other}`"), expected)
            }
        }
    }

    /// Entry by entry.
    pub(crate) fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Silu => silu(x),
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_approximate(x),
            Self::Relu => relu(x),
        }
    }

    /// `activation(gate) ∘ up`.
    pub(crate) fn gated(&self, gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Silu => swiglu(gate, up),
            _ => self.apply(gate) * up,
        }
    }
}

/// `down(activation(gate(x)) * up(x))` (Shazeer 2020, arXiv 2002.05202).
///
/// Gate and input have a layer each, or the first and the second half of one layer's outputs
/// (Phi-3).
///
/// ```
/// use burn::tensor::Device;
/// use burn_hf_models::llama::LlamaConfig;
///
/// let config = LlamaConfig::new(100, 32, 64, 2, 4);
/// let model = config.init(&Device::flex())?;
/// let mlp = &model.model.layers[0].mlp;
/// assert_eq!(mlp.up_proj.as_ref().unwrap().weight.dims(), [32, 64]);
/// let model = config.with_fused_projections(true).init(&Device::flex())?;
/// let mlp = &model.model.layers[0].mlp;
/// assert_eq!(mlp.gate_up_proj.as_ref().unwrap().weight.dims(), [32, 128]);
/// # Ok::<(), burn_hf_models::Error>(())
/// ```
#[derive(Module, Debug)]
pub struct LlamaMlp {
    /// `[d, hidden]`.
    pub gate_proj: Option<Linear>,
    /// `[d, hidden]`.
    pub up_proj: Option<Linear>,
    /// `[d, 2 hidden]`, in the place of the other two.
    pub gate_up_proj: Option<Linear>,
    /// `[hidden, d]`.
    pub down_proj: Linear,
    #[module(skip)]
    pub(super) activation: GateActivation,
}

impl LlamaMlp {
    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [gate, up] = match (&self.gate_proj, &self.up_proj, &self.gate_up_proj) {
            (Some(gate), Some(up), _) => [gate.forward_adapted(x.clone()), up.forward_adapted(x)],
            (_, _, Some(both)) => halves(both.forward_adapted(x)),
            _ => panic!("LlamaMlp: expected gate_proj and up_proj, or gate_up_proj"),
        };
        self.down_proj
            .forward_adapted(self.activation.gated(gate, up))
    }
}

/// The halves of the last axis.
pub(crate) fn halves(x: Tensor<3>) -> [Tensor<3>; 2] {
    let [_, _, width] = x.dims();
    [0, 1].map(|half| x.clone().narrow(2, half * (width / 2), width / 2))
}
