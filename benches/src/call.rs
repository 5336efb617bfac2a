//! The ways in which a model calls its linear layers.
//!
//! One forward pass serves every method; what differs is how a linear layer is computed and what
//! of it lands on the autodiff graph.

use std::cell::RefCell;

use burn::module::{LoraAdapter, Param, ParamId};
use burn::nn::{LayerNorm, Linear, Lstm};
use burn::tensor::activation::softmax;
use burn::tensor::{Gradients, Int, Tensor, module};
use burn_flex_fused::{ForwardFused, linear, linear_add};
use burn_ief::nn::ForwardRecorded;

use crate::operations::Operations;

/// How linear layers are called, for inputs `[M, T, i]`.
pub enum Call {
    /// Sequences folded to 2-D; adapters on the activation path `x W + b + s (x A) B`.
    Folded(Operations),
    /// Adapters on the activation path, sequences in 3-D as they come.
    Unfolded,
    /// Burn's `forward`: 3-D, and adapters composed into a dense weight.
    Burn,
    /// Recorded by the tape in progress.
    Recorded,
    /// One sample at a time, as [`Call::Folded`].
    OneSample(OutputNorms),
    /// Every sample has its own copy of the trainable parameters, as a leaf.
    PerSample(Leaves),
}

/// ‖∂l_n/∂z_n‖² of the samples, in the order of the calls.
#[derive(Default)]
pub struct OutputNorms(RefCell<Vec<Tensor<1>>>);

impl OutputNorms {
    /// Take all of them, `[M]`.
    pub fn take(&self) -> Tensor<1> {
        Tensor::cat(self.0.take(), 0)
    }
}

impl Call {
    /// `[M, T, i]` to `[M, T, o]`.
    pub fn linear(&self, layer: &Linear, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Recorded => layer.forward_recorded(x),
            Self::Burn => layer.forward(x),
            Self::Folded(_) | Self::OneSample(_) => {
                let operations = self.operations();
                let [m, t, i] = x.dims();
                let y = activation_path(layer, x.reshape([m * t, i]), operations);
                let [_, o] = y.dims();
                y.reshape([m, t, o])
            }
            Self::Unfolded => activation_path(layer, x, self.operations()),
            Self::PerSample(leaves) => leaves.linear(layer, x),
        }
    }
}

impl Call {
    /// `[M, T, i]` to `[M, T, o]`: Burn's own layer, or the recorded one.
    ///
    /// # Panics
    ///
    /// Panics for copies of the parameters: no method of a setting with this layer makes them.
    pub fn lstm(&self, layer: &Lstm, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Recorded => layer.forward_recorded((x, None)).0,
            Self::Folded(_) | Self::Unfolded | Self::Burn | Self::OneSample(_) => {
                layer.forward(x, None).0
            }
            Self::PerSample(_) => unreachable!("`dense` is no method of a recurrent setting"),
        }
    }

    /// A trained norm of `[M, T, d]`.
    ///
    /// # Panics
    ///
    /// Panics for copies of the parameters: no method of a setting with trained norms makes them.
    pub fn norm(&self, layer: &LayerNorm, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Recorded => layer.forward_recorded(x),
            Self::Folded(_) | Self::Unfolded | Self::Burn | Self::OneSample(_) => layer.forward(x),
            Self::PerSample(_) => unreachable!("`dense` is no method of a setting with norms"),
        }
    }
}

impl Call {
    /// What computes layers that are not recorded.
    fn operations(&self) -> Operations {
        match self {
            Self::Folded(operations) => *operations,
            Self::Unfolded | Self::Burn => Operations::Burn,
            Self::OneSample(_) | Self::Recorded | Self::PerSample(_) => Operations::Fused,
        }
    }

    /// Keep the norms of the output's gradients under cross-entropy, where the method does not get them from a
    /// recording.
    pub fn keep_output_norms(&self, logits: &Tensor<2>, labels: &Tensor<1, Int>) {
        let norms = match self {
            Self::OneSample(norms) => norms,
            Self::PerSample(leaves) => &leaves.norms,
            _ => return,
        };
        let norm = output_norms(logits.clone().inner(), labels.clone().inner());
        norms.0.borrow_mut().push(norm);
    }
}

/// ‖softmax(z) − onehot(y)‖², `[M]`.
fn output_norms(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    let [_, classes] = logits.dims();
    let error = softmax(logits, 1) - labels.one_hot::<2>(classes).float();
    error.square().sum_dim(1).squeeze_dim(1)
}

fn activation_path<const D: usize>(
    layer: &Linear,
    x: Tensor<D>,
    operations: Operations,
) -> Tensor<D> {
    let Some(LoraAdapter { a, b, scale }) = layer.weight.adapter() else {
        return match operations {
            Operations::Fused => layer.forward_fused(x),
            Operations::Burn => layer.forward(x),
        };
    };
    let hidden = x.clone().matmul(a.val().unsqueeze());
    match operations {
        Operations::Fused => {
            let bias = layer.bias.as_ref().map(Param::val);
            let update = linear(hidden * *scale, b.val(), bias);
            linear_add(x, layer.weight.base(), None, update)
        }
        Operations::Burn => base(layer, x) + hidden.matmul(b.val().unsqueeze()) * *scale,
    }
}

/// The layer without its adapter.
fn base<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(Param::val);
    module::linear(x, layer.weight.base(), bias)
}

/// Per-sample copies of trainable parameters.
#[derive(Default)]
pub struct Leaves {
    all: RefCell<Vec<Leaf>>,
    /// Of the batch that went through them.
    pub norms: OutputNorms,
}

/// Per-sample gradients of one parameter.
pub struct PerSample {
    /// The parameter.
    pub id: ParamId,
    /// Its shape.
    pub shape: Vec<usize>,
    /// `[M, P]`, of the scalar loss.
    pub rows: Tensor<2>,
}

enum Leaf {
    Matrix(ParamId, Tensor<3>),
    Vector(ParamId, Tensor<2>),
}

impl Leaves {
    /// Take the per-sample gradients of everything that was used.
    ///
    /// # Panics
    ///
    /// Panics if a leaf did not reach the loss.
    pub fn take(self, grads: &mut Gradients) -> Vec<PerSample> {
        let reached = "every layer reaches the loss";
        let leaves = self.all.into_inner().into_iter();
        leaves
            .map(|leaf| match leaf {
                Leaf::Matrix(id, leaf) => {
                    let [m, i, o] = leaf.dims();
                    let grad = leaf.grad_remove(grads).expect(reached);
                    PerSample {
                        id,
                        shape: vec![i, o],
                        rows: grad.reshape([m, i * o]),
                    }
                }
                Leaf::Vector(id, leaf) => {
                    let [_, o] = leaf.dims();
                    PerSample {
                        id,
                        shape: vec![o],
                        rows: leaf.grad_remove(grads).expect(reached),
                    }
                }
            })
            .collect()
    }

    fn linear(&self, layer: &Linear, x: Tensor<3>) -> Tensor<3> {
        let [m, t, i] = x.dims();
        if let Some(LoraAdapter { a, b, scale }) = layer.weight.adapter() {
            let y = base(layer, x.clone().reshape([m * t, i]));
            let [_, o] = y.dims();
            let path = x.matmul(self.matrix(a, m)).matmul(self.matrix(b, m));
            return y.reshape([m, t, o]) + path * *scale;
        }
        if !layer.weight.is_require_grad() {
            return Call::Folded(Operations::Fused).linear(layer, x);
        }
        let y = x.matmul(self.matrix(&layer.weight, m));
        match &layer.bias {
            Some(bias) => y + self.vector(bias, m).unsqueeze_dim(1),
            None => y,
        }
    }

    fn matrix(&self, param: &Param<Tensor<2>>, samples: usize) -> Tensor<3> {
        let value = param.base().inner();
        let [i, o] = value.dims();
        let leaf = value.unsqueeze::<3>().expand([samples, i, o]);
        let leaf = leaf.autodiff().require_grad();
        let mut all = self.all.borrow_mut();
        all.push(Leaf::Matrix(param.id, leaf.clone()));
        leaf
    }

    fn vector(&self, param: &Param<Tensor<1>>, samples: usize) -> Tensor<2> {
        let value = param.base().inner();
        let [o] = value.dims();
        let leaf = value.unsqueeze::<2>().expand([samples, o]);
        let leaf = leaf.autodiff().require_grad();
        let mut all = self.all.borrow_mut();
        all.push(Leaf::Vector(param.id, leaf.clone()));
        leaf
    }
}
