//! The mean gradient of a layer as a product of few rows.

use burn::tensor::Tensor;

use crate::moves::moved;
use crate::rows::matmul;

/// The mean gradient `XᵀE` of a layer, from its inputs X and errors E.
///
/// With fewer rows than X and E have columns, the inverses of the factors multiply the rows in less
/// time than the gradient.
#[derive(Debug, Clone)]
pub(super) struct GradientRows {
    /// X, `[N, i]`.
    inputs: Tensor<2>,
    /// E, `[N, o]`.
    errors: Tensor<2>,
}

impl GradientRows {
    /// From X and E; `None` where products with the gradient itself are cheaper.
    pub fn new(inputs: Tensor<2>, errors: Tensor<2>) -> Option<Self> {
        let ([rows, i], [_, o]) = (inputs.dims(), errors.dims());
        let pays = rows * (i * i + o * o + i * o) < i * o * (i + o);
        pays.then_some(Self { inputs, errors })
    }

    /// The rows of the gradient times a factor.
    pub fn scaled(self, factor: f64) -> Self {
        Self {
            errors: self.errors * factor,
            ..self
        }
    }

    /// The rows of the sum of two gradients, on the devices of this one.
    pub fn joined(self, other: Self) -> Option<Self> {
        let both = |own: Tensor<2>, other: Tensor<2>| {
            let other = moved(other, &own.device());
            Tensor::cat(vec![own, other], 0)
        };
        Self::new(
            both(self.inputs, other.inputs),
            both(self.errors, other.errors),
        )
    }

    /// `(X A⁻¹)ᵀ (E B⁻¹)`: the inverses on both sides of the gradient.
    pub fn preconditioned(self, [input, error]: [Tensor<2>; 2]) -> Tensor<2> {
        let times = |x: Tensor<2>, inverse: Tensor<2>| {
            let inverse = moved(inverse, &x.device()).cast(x.dtype());
            matmul(x, inverse)
        };
        matmul(
            times(self.inputs, input).transpose(),
            times(self.errors, error),
        )
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{DType, Device, Distribution};

    use super::*;

    fn random(shape: [usize; 2]) -> Tensor<2> {
        let normal = Distribution::Normal(0.0, 1.0);
        Tensor::random(shape, normal, (&Device::flex(), DType::F64))
    }

    #[test]
    fn rows_give_what_the_gradient_gives() {
        let (x, e) = (random([3, 9]), random([3, 7]));
        let (a, b) = (random([9, 9]), random([7, 7]));
        let symmetric = |a: Tensor<2>| a.clone() + a.transpose();
        let (a, b) = (symmetric(a), symmetric(b));
        let expected = a
            .clone()
            .matmul(x.clone().transpose() * 0.5)
            .matmul(e.clone())
            .matmul(b.clone());
        let part = |first, count| {
            let [x, e] = [&x, &e].map(|x| x.clone().narrow(0, first, count));
            GradientRows::new(x, e).expect("few rows").scaled(0.5)
        };
        for rows in [part(0, 3), part(0, 1).joined(part(1, 2)).expect("few rows")] {
            let found = rows.preconditioned([a.clone(), b.clone()]);
            let difference: f64 = (found - expected.clone()).abs().max().into_scalar();
            assert!(difference < 1e-12, "{difference:e}");
        }
    }

    #[test]
    fn many_rows_are_left_to_the_gradient() {
        // 49 + 81 + 63 = 193 products a row, 63 · 16 = 1008 with the gradient.
        assert!(GradientRows::new(random([5, 9]), random([5, 7])).is_some());
        assert!(GradientRows::new(random([6, 9]), random([6, 7])).is_none());
        let few = || GradientRows::new(random([3, 9]), random([3, 7])).expect("few rows");
        assert!(few().joined(few()).is_none());
    }
}
