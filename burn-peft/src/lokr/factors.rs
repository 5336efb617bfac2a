//! The factors of one weight.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::config::LokrConfig;
use crate::adapters::{Adapters, AddedMatrix, DeltaDropout, LayerAdapter, Uses, at, compose};

/// One factor of a Kronecker product, in PEFT's layout (outputs first).
#[derive(Debug, Clone)]
pub struct KroneckerFactor {
    left: Tensor<2>,
    right: Option<Tensor<2>>,
}

impl KroneckerFactor {
    /// A matrix `[rows, columns]`.
    pub fn whole(matrix: Tensor<2>) -> Self {
        Self {
            left: matrix,
            right: None,
        }
    }

    /// The product of `[rows, r]` and `[r, columns]`.
    pub fn product(left: Tensor<2>, right: Tensor<2>) -> Self {
        Self {
            left,
            right: Some(right),
        }
    }
}

/// The adapter of LoKr on a linear weight `[d_in, d_out]`. It adds the transpose of `s W1 ⊗ W2` for
/// W1 `[out_1, in_1]` and W2 `[out_2, in_2]` with `out_1 out_2 = d_out` and `in_1 in_2 = d_in`. Each of the
/// two is a parameter, or the product of two.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::lokr::KroneckerFactor;
/// use burn_peft::{DeltaDropout, ForwardAdapted, LokrAdapters, LokrFactors};
///
/// let device = Device::flex().autodiff();
/// let mut layer = LinearConfig::new(4, 6).with_bias(false).init(&device);
/// let x = Tensor::<2>::ones([1, 4], &device);
/// let before = layer.forward(x.clone());
/// let ones = |shape: [usize; 2]| KroneckerFactor::whole(Tensor::ones(shape, &device));
/// let factors = [ones([2, 2]), ones([3, 2])];
/// let factors = LokrFactors::new(factors, 0.25, DeltaDropout::new(0.0, 0.0, false));
/// layer.weight = LokrAdapters::new("default", factors).attach(layer.weight);
/// let difference = layer.forward_adapted(x) - before - 1.0;
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct LokrFactors {
    /// W1 `[out_1, in_1]`, if it is one matrix.
    pub w1: Option<Param<Tensor<2>>>,
    /// `[out_1, r]`, if W1 is a product.
    pub w1_a: Option<Param<Tensor<2>>>,
    /// `[r, in_1]`, if W1 is a product.
    pub w1_b: Option<Param<Tensor<2>>>,
    /// W2 `[out_2, in_2]`, if it is one matrix.
    pub w2: Option<Param<Tensor<2>>>,
    /// `[out_2, r]`, if W2 is a product.
    pub w2_a: Option<Param<Tensor<2>>>,
    /// `[r, in_2]`, if W2 is a product.
    pub w2_b: Option<Param<Tensor<2>>>,
    /// Scale s: `alpha / r`.
    pub scale: f64,
    /// Dropout of what is added.
    pub dropout: DeltaDropout,
}

/// The LoKr adapters on a linear weight.
pub type LokrAdapters = Adapters<LokrFactors, 2>;

/// A factor as its parameters.
enum Parameters<'a> {
    Whole(&'a Param<Tensor<2>>),
    Product(&'a Param<Tensor<2>>, &'a Param<Tensor<2>>),
}

impl LokrFactors {
    /// Trainable factors W1 and W2.
    pub fn new(factors: [KroneckerFactor; 2], scale: f64, dropout: DeltaDropout) -> Self {
        let trains =
            |factor: Tensor<2>| Some(Param::from_tensor(factor.detach()).set_require_grad(true));
        let parts = factors.map(|KroneckerFactor { left, right }| match right {
            None => [trains(left), None, None],
            Some(right) => [None, trains(left), trains(right)],
        });
        let [[w1, w1_a, w1_b], [w2, w2_a, w2_b]] = parts;
        Self {
            w1,
            w1_a,
            w1_b,
            w2,
            w2_a,
            w2_b,
            scale,
            dropout,
        }
    }

    fn parameters(&self) -> [Parameters<'_>; 2] {
        let parts = [
            (&self.w1, &self.w1_a, &self.w1_b),
            (&self.w2, &self.w2_a, &self.w2_b),
        ];
        parts.map(|parts| match parts {
            (Some(whole), _, _) => Parameters::Whole(whole),
            (None, Some(a), Some(b)) => Parameters::Product(a, b),
            _ => unreachable!("`new` gives a matrix or both of a product"),
        })
    }
}

impl AddedMatrix for LokrFactors {
    fn delta(&self) -> Tensor<2> {
        let [first, second] = self.parameters().map(|factor| match factor {
            Parameters::Whole(whole) => whole.val(),
            Parameters::Product(a, b) => a.val().matmul(b.val()),
        });
        let [out_1, in_1] = first.dims();
        let [out_2, in_2] = second.dims();
        let product = first.reshape([out_1, 1, in_1, 1]) * second.reshape([1, out_2, 1, in_2]);
        let product: Tensor<2> = product.reshape([out_1 * out_2, in_1 * in_2]);
        product.transpose() * self.scale
    }

    /// `(W1 ⊗ W2) x` is `W1 X W2ᵀ` for x as a matrix X `[in_1, in_2]`.
    fn along(&self, x: Tensor<3>, uses: &Uses) -> Tensor<3> {
        let [first, second]: [Tensor<3>; 2] = self.parameters().map(|factor| match factor {
            Parameters::Whole(whole) => uses.of(whole),
            Parameters::Product(a, b) => uses.of::<2, 3>(a).matmul(uses.of(b)),
        });
        let [_, out_1, in_1] = first.dims();
        let [_, out_2, in_2] = second.dims();
        let [samples, positions, _] = x.dims();
        let x = at(x, first.dtype());
        let x = x.reshape([samples, positions * in_1, in_2]);
        let right = x.matmul(second.swap_dims(1, 2));
        let right = right.reshape([samples, positions, in_1, out_2]);
        let right = right
            .swap_dims(2, 3)
            .reshape([samples, positions * out_2, in_1]);
        let both = right.matmul(first.swap_dims(1, 2));
        let both = both.reshape([samples, positions, out_2, out_1]);
        let y = both
            .swap_dims(2, 3)
            .reshape([samples, positions, out_1 * out_2]);
        self.dropout.forward(y * self.scale)
    }
}

impl LayerAdapter<2> for LokrFactors {
    const PEFT_TYPE: &'static str = LokrConfig::PEFT_TYPE;

    fn compose(&self, weight: Tensor<2>, factor: f64) -> Tensor<2> {
        compose(self, weight, factor)
    }
}
