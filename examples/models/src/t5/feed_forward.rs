//! The network between two attention layers: one hidden layer, plain or gated.

use std::f64::consts::PI;

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, silu};
use burn_ief::nn::ForwardRecorded;
use burn_peft::ForwardAdapted;

use super::norm::Norm;

/// `DenseReluDense` of `transformers`, which has this name in both forms.
#[derive(Module, Debug)]
pub(super) enum FeedForward {
    Plain(Plain),
    Gated(Gated),
}

/// `wo(relu(wi(x)))`.
#[derive(Module, Debug)]
pub(super) struct Plain {
    pub wi: Linear,
    pub wo: Linear,
    pub dropout: Dropout,
}

/// `wo(activation(wi_0(x)) ∘ wi_1(x))`.
#[derive(Module, Debug)]
pub(super) struct Gated {
    pub wi_0: Linear,
    pub wi_1: Linear,
    pub wo: Linear,
    pub dropout: Dropout,
    #[module(skip)]
    pub activation: Gate,
}

/// The activation of a gate.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gate {
    Gelu,
    Silu,
}

impl Gate {
    fn apply(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gelu => gelu_tanh(x),
            Self::Silu => silu(x),
        }
    }
}

/// The tanh approximation of GELU, with the cube as a product: a power of a negative number is NaN
/// on some devices.
fn gelu_tanh(x: Tensor<3>) -> Tensor<3> {
    let cube = x.clone() * x.clone() * x.clone();
    let inner = (x.clone() + cube * 0.044715) * (2.0 / PI).sqrt();
    x * 0.5 * (inner.tanh() + 1.0)
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Plain(net) => {
                let hidden = relu(net.wi.forward_adapted(x));
                let hidden = net.dropout.forward_recorded(hidden);
                net.wo.forward_adapted(hidden)
            }
            Self::Gated(net) => {
                let gate = net.activation.apply(net.wi_0.forward_adapted(x.clone()));
                let hidden = gate * net.wi_1.forward_adapted(x);
                let hidden = net.dropout.forward_recorded(hidden);
                net.wo.forward_adapted(hidden)
            }
        }
    }
}

/// The network after a norm, with a residual connection.
#[derive(Module, Debug)]
pub(super) struct FeedForwardLayer {
    pub dense: FeedForward,
    pub layer_norm: Norm,
    pub dropout: Dropout,
}

impl FeedForwardLayer {
    /// `[M, T, d_model]` to `[M, T, d_model]`.
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let update = self.dense.forward(self.layer_norm.forward(hidden.clone()));
        hidden + self.dropout.forward_recorded(update)
    }
}
