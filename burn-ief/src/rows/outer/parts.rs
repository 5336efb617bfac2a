//! Parts and other forms of outer-product rows: factors, samples, dense rows, squares, norms.

use burn::tensor::{DType, Device, Tensor};

use super::super::{dense_squared_norms, to_dtype};
use super::{Outer, Side};
use crate::moves::moved;

impl Outer {
    pub(in crate::rows) fn moved_to(self, device: &Device) -> Self {
        Self {
            left: moved(self.left, device),
            right: moved(self.right, device),
            ..self
        }
    }

    pub(in crate::rows) fn cast(self, dtype: DType) -> Self {
        Self {
            left: to_dtype(self.left, dtype),
            right: to_dtype(self.right, dtype),
            ..self
        }
    }

    pub(in crate::rows) fn squared(&self) -> Self {
        Self {
            left: self.left.clone().square(),
            right: self.right.clone().square(),
            ..*self
        }
    }

    /// Whether dense rows take at most as many numbers as the factors.
    pub(in crate::rows) fn is_larger_than_dense(&self) -> bool {
        let ([_, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        i * o <= t * (i + o)
    }

    /// Which factor holds the layer's inputs.
    pub(crate) fn input_side(&self) -> Side {
        self.inputs
    }

    pub(in crate::rows) fn left(&self) -> Tensor<3> {
        self.left.clone()
    }

    pub(in crate::rows) fn right(&self) -> Tensor<3> {
        self.right.clone()
    }

    /// With both factors changed, in their own memory where nothing else holds it.
    pub(in crate::rows) fn map_factors(
        self,
        of_left: impl FnOnce(Tensor<3>) -> Tensor<3>,
        of_right: impl FnOnce(Tensor<3>) -> Tensor<3>,
    ) -> Self {
        Self {
            left: of_left(self.left),
            right: of_right(self.right),
            ..self
        }
    }

    pub(in crate::rows) fn narrow(&self, start: usize, count: usize) -> Self {
        Self {
            left: self.left.clone().narrow(0, start, count),
            right: self.right.clone().narrow(0, start, count),
            ..*self
        }
    }

    /// `[M, i * o]`, without the bias.
    pub(in crate::rows) fn to_dense(&self) -> Tensor<2> {
        let ([m, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        if t == 1 {
            let left = self.left.clone().reshape([m, i, 1]);
            return (left * self.right.clone()).reshape([m, i * o]);
        }
        let left = self.left.clone().swap_dims(1, 2);
        left.matmul(self.right.clone()).reshape([m, i * o])
    }

    pub(in crate::rows) fn squared_norms(&self, dtype: DType) -> Tensor<1> {
        let ([m, t, i], [_, _, o]) = (self.left.dims(), self.right.dims());
        if t * (i + o) <= i * o {
            let left = to_dtype(self.left.clone(), dtype);
            let right = to_dtype(self.right.clone(), dtype);
            let products = |factor: Tensor<3>, side| {
                let products = factor.clone().matmul(factor.swap_dims(1, 2));
                self.with_constant(products, side)
            };
            let products = products(left, Side::Left) * products(right, Side::Right);
            return products.reshape([m, t * t]).sum_dim(1).squeeze_dim(1);
        }
        let norms = dense_squared_norms(self.to_dense(), dtype);
        if self.bias {
            norms + dense_squared_norms(self.bias_rows(), dtype)
        } else {
            norms
        }
    }
}
