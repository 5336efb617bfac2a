//! The scales of one weight.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::Tensor;
use burn_ief::nn::ForwardRecorded;

use super::config::VeraConfig;
use crate::adapters::{
    AdapterPart, Adapters, AddedMatrix, LayerAdapter, Uses, at, compose, folded, like,
};

/// The adapter of VeRA on a linear weight `[d_in, d_out]`: scales d `[r]` and b `[d_out]` of two random
/// matrices A `[r, d_in]` and B `[d_out, r]` that all layers share. It adds `Aᵀ diag(d) Bᵀ diag(b)`.
///
/// Only the scales are parameters. The matrices move with the module between devices, and are neither
/// counted nor recorded as parameters.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{ForwardAdapted, VeraAdapters, VeraScales};
///
/// let device = Device::flex().autodiff();
/// let mut layer = LinearConfig::new(2, 3).with_bias(false).init(&device);
/// let x = Tensor::<2>::ones([1, 2], &device);
/// let before = layer.forward(x.clone());
/// let [d, b] = [1, 3].map(|width| Tensor::<1>::ones([width], &device));
/// let matrices = [[1, 2], [3, 1]].map(|shape| Tensor::<2>::ones(shape, &device));
/// let scales = VeraScales::new([d, b], matrices, 0.0);
/// assert_eq!(scales.num_params(), 4);
/// layer.weight = VeraAdapters::new("default", scales).attach(layer.weight);
/// let difference = layer.forward_adapted(x) - before - 2.0;
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct VeraScales {
    /// The scales of the rank, `[r]` (`vera_lambda_d`).
    pub d: Param<Tensor<1>>,
    /// The scales of the outputs, `[d_out]` (`vera_lambda_b`).
    pub b: Param<Tensor<1>>,
    /// A `[r, d_in]`.
    a_shared: Tensor<2>,
    /// B `[d_out, r]`.
    b_shared: Tensor<2>,
    /// Dropout on the adapter's input (not on the base layer's).
    pub dropout: Dropout,
}

/// The VeRA adapters on a linear weight.
pub type VeraAdapters = Adapters<VeraScales, 2>;

impl VeraScales {
    /// Trainable scales d `[r]` and b `[d_out]` of the matrices A `[r, d_in]` and B `[d_out, r]`.
    ///
    /// # Panics
    ///
    /// Panics if `dropout` is not at least 0 and below 1.
    pub fn new(scales: [Tensor<1>; 2], matrices: [Tensor<2>; 2], dropout: f64) -> Self {
        let [d, b] = scales.map(|scale| Param::from_tensor(scale.detach()).set_require_grad(true));
        let [a_shared, b_shared] = matrices.map(off_graph);
        Self {
            d,
            b,
            a_shared,
            b_shared,
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// A and B on the graph of another tensor.
    fn matrices<const D: usize>(&self, other: &Tensor<D>) -> [Tensor<2>; 2] {
        // A walk into training mode puts them on the graph.
        let on_graph = |matrix: &Tensor<2>| like(off_graph(matrix.clone()), other);
        [&self.a_shared, &self.b_shared].map(on_graph)
    }
}

fn off_graph(matrix: Tensor<2>) -> Tensor<2> {
    if matrix.is_autodiff() {
        matrix.inner()
    } else {
        matrix
    }
}

impl AddedMatrix for VeraScales {
    fn delta(&self) -> Tensor<2> {
        let (d, b) = (self.d.val(), self.b.val());
        let [first, second] = self.matrices(&d);
        let first = first.transpose() * d.unsqueeze::<2>();
        first.matmul(second.transpose() * b.unsqueeze::<2>())
    }

    fn along(&self, x: Tensor<3>, uses: &Uses) -> Tensor<3> {
        let x = at(self.dropout.forward_recorded(x), self.d.val().dtype());
        let [first, second] = self.matrices(&x);
        let d: Tensor<2> = uses.of(&self.d);
        let b: Tensor<2> = uses.of(&self.b);
        let hidden = folded(x, first.transpose()) * d.unsqueeze_dim::<3>(1);
        folded(hidden, second.transpose()) * b.unsqueeze_dim::<3>(1)
    }
}

impl LayerAdapter<2> for VeraScales {
    const PEFT_TYPE: &'static str = VeraConfig::PEFT_TYPE;

    fn compose(&self, weight: Tensor<2>, factor: f64) -> Tensor<2> {
        compose(self, weight, factor)
    }

    fn shared(&self) -> Vec<(AdapterPart, Tensor<2>)> {
        let parts = [AdapterPart::VERA_A, AdapterPart::VERA_B];
        let matrices = [&self.a_shared, &self.b_shared];
        let matrices = matrices.map(|matrix| off_graph(matrix.clone()));
        parts.into_iter().zip(matrices).collect()
    }
}
