//! The factors of one weight.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::config::LohaConfig;
use crate::adapters::{Adapters, AddedMatrix, DeltaDropout, LayerAdapter, Uses, at, compose};

/// The adapter of LoHa on a linear weight `[d_in, d_out]`. It adds `s (w1_b w1_a) ∘ (w2_b w2_a)`, whose rank
/// can be r².
///
/// The factors are the transposes of PEFT's, which adapts `[d_out, d_in]`.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{DeltaDropout, ForwardAdapted, LohaAdapters, LohaFactors};
///
/// let device = Device::flex().autodiff();
/// let mut layer = LinearConfig::new(2, 3).with_bias(false).init(&device);
/// let x = Tensor::<2>::ones([1, 2], &device);
/// let before = layer.forward(x.clone());
/// let ones = |shape: [usize; 2]| Tensor::<2>::ones(shape, &device);
/// let factors = [ones([1, 3]), ones([2, 1]), ones([1, 3]), ones([2, 1])];
/// let factors = LohaFactors::new(factors, 0.5, DeltaDropout::new(0.0, 0.0, true));
/// layer.weight = LohaAdapters::new("default", factors).attach(layer.weight);
/// let difference = layer.forward_adapted(x) - before - 1.0;
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct LohaFactors {
    /// `[r, d_out]`
    pub w1_a: Param<Tensor<2>>,
    /// `[d_in, r]`
    pub w1_b: Param<Tensor<2>>,
    /// `[r, d_out]`
    pub w2_a: Param<Tensor<2>>,
    /// `[d_in, r]`
    pub w2_b: Param<Tensor<2>>,
    /// Scale s: `alpha / r`.
    pub scale: f64,
    /// Dropout of what is added.
    pub dropout: DeltaDropout,
}

/// The LoHa adapters on a linear weight.
pub type LohaAdapters = Adapters<LohaFactors, 2>;

impl LohaFactors {
    /// Trainable factors `w1_a`, `w1_b`, `w2_a` and `w2_b`.
    pub fn new(factors: [Tensor<2>; 4], scale: f64, dropout: DeltaDropout) -> Self {
        let factors = factors.map(|factor| Param::from_tensor(factor.detach()));
        let [w1_a, w1_b, w2_a, w2_b] = factors.map(|factor| factor.set_require_grad(true));
        Self {
            w1_a,
            w1_b,
            w2_a,
            w2_b,
            scale,
            dropout,
        }
    }

    /// Whether the r² products of single rows and columns are fewer numbers than the matrix.
    fn is_narrow(&self) -> bool {
        let [rank, d_out] = self.w1_a.lazy_shape().dims();
        let [d_in, _] = self.w1_b.lazy_shape().dims();
        rank * rank * (d_in + d_out) <= d_in * d_out
    }
}

impl AddedMatrix for LohaFactors {
    fn delta(&self) -> Tensor<2> {
        let first = self.w1_b.val().matmul(self.w1_a.val());
        let second = self.w2_b.val().matmul(self.w2_a.val());
        first * second * self.scale
    }

    fn along(&self, x: Tensor<3>, uses: &Uses) -> Tensor<3> {
        let [w1_a, w1_b, w2_a, w2_b]: [Tensor<3>; 4] =
            [&self.w1_a, &self.w1_b, &self.w2_a, &self.w2_b].map(|factor| uses.of(factor));
        let x = at(x, w1_a.dtype());
        let y = if self.is_narrow() {
            // Σ_i Σ_j (w1_b[:, i] ∘ w2_b[:, j]) (w1_a[i, :] ∘ w2_a[j, :]): the matrix has the rank r².
            let [samples, rank, d_out] = w1_a.dims();
            let [_, d_in, _] = w1_b.dims();
            let inner = w1_b.unsqueeze_dim::<4>(3) * w2_b.unsqueeze_dim::<4>(2);
            let outer = w1_a.unsqueeze_dim::<4>(2) * w2_a.unsqueeze_dim::<4>(1);
            let hidden = x.matmul(inner.reshape([samples, d_in, rank * rank]));
            hidden.matmul(outer.reshape([samples, rank * rank, d_out]))
        } else {
            x.matmul(w1_b.matmul(w1_a) * w2_b.matmul(w2_a))
        };
        self.dropout.forward(y * self.scale)
    }
}

impl LayerAdapter<2> for LohaFactors {
    const PEFT_TYPE: &'static str = LohaConfig::PEFT_TYPE;

    fn compose(&self, weight: Tensor<2>, factor: f64) -> Tensor<2> {
        compose(self, weight, factor)
    }
}
