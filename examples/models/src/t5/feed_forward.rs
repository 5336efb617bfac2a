//! The network between two attention layers: one hidden layer, plain or gated.

use burn::module::Module;
use burn::nn::{Dropout, Linear};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn_flex_fused::{gelu_approximate, swiglu};
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
    /// `activation(gate) ∘ up`.
    fn apply(self, gate: Tensor<3>, up: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Gelu => gelu_approximate(gate) * up,
            Self::Silu => swiglu(gate, up),
        }
    }
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
                let gate = net.wi_0.forward_adapted(x.clone());
                let hidden = net.activation.apply(gate, net.wi_1.forward_adapted(x));
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
