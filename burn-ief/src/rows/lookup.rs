//! Rows of a table that is read by indices: embeddings.

use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor};

use super::by_entry::gram_by_entry;
use super::{Outer, TEMPORARY, dense_cross, to_dtype, triangular};
use crate::moves::{moved, moved_integers};

/// Row n is a table `[entries, o]` of zeros with `right[n, t]` added to its row `indices[n, t]`, for
/// every position t.
#[derive(Debug, Clone)]
pub struct Lookup {
    pub(super) indices: Tensor<2, Int>,
    pub(super) right: Tensor<3>,
    pub(super) entries: usize,
}

impl Lookup {
    pub(super) fn moved_to(self, device: &Device) -> Self {
        Self {
            indices: moved_integers(self.indices, device),
            right: moved(self.right, device),
            ..self
        }
    }

    pub(super) fn cast(self, dtype: DType) -> Self {
        Self {
            right: to_dtype(self.right, dtype),
            ..self
        }
    }

    /// From `indices [M, T]` into a table of `entries` rows and `right [M, T, o]`.
    ///
    /// # Panics
    ///
    /// Panics if M or T differ.
    pub fn new(indices: Tensor<2, Int>, right: Tensor<3>, entries: usize) -> Self {
        let [m, t, _] = right.dims();
        assert_eq!(
            indices.dims(),
            [m, t],
            "samples and positions of both factors"
        );
        Self {
            indices,
            right,
            entries,
        }
    }

    pub(super) fn place(&self) -> (Device, DType) {
        (self.right.device(), self.right.dtype())
    }

    pub(super) fn squared(&self) -> Self {
        Self {
            right: self.right.clone().square(),
            ..self.clone()
        }
    }

    pub(super) fn samples(&self) -> usize {
        self.right.dims()[0]
    }

    pub(super) fn len(&self) -> usize {
        self.entries * self.right.dims()[2]
    }

    pub(super) fn narrow(&self, start: usize, count: usize) -> Self {
        Self {
            indices: self.indices.clone().narrow(0, start, count),
            right: self.right.clone().narrow(0, start, count),
            entries: self.entries,
        }
    }

    pub(super) fn flat(&self) -> (Tensor<1, Int>, Tensor<2>) {
        let [m, t, o] = self.right.dims();
        let indices = self.indices.clone().reshape([m * t]);
        (indices, self.right.clone().reshape([m * t, o]))
    }

    pub(super) fn to_dense(&self) -> Tensor<2> {
        let [m, _, o] = self.right.dims();
        let device = self.right.device();
        let offsets = Tensor::<1, Int>::arange(0..m as i64, &device) * self.entries as i64;
        let shifted = Self {
            indices: self.indices.clone() + offsets.reshape([m, 1]),
            right: self.right.clone(),
            entries: m * self.entries,
        };
        shifted.scatter().reshape([m, self.entries * o])
    }

    /// The sum of all rows, as a table: every vector is added at its index.
    fn scatter(&self) -> Tensor<2> {
        let (indices, right) = self.flat();
        let table = [self.entries, self.right.dims()[2]];
        Tensor::zeros(table, (&right.device(), right.dtype())).select_assign(
            0,
            indices,
            right,
            IndexingUpdateOp::Add,
        )
    }

    /// The Gram share `[M, M]`; only the lower triangle is guaranteed.
    pub(super) fn gram(&self, dtype: DType) -> Tensor<2> {
        let (indices, right) = self.flat();
        let dense = |indices, entries| {
            let right = self.right.clone();
            let rows = Self {
                indices,
                right,
                entries,
            };
            rows.to_dense()
        };
        gram_by_entry(indices, right, self.right.dims(), dtype, dense).unwrap_or_else(|| {
            triangular(self.samples(), TEMPORARY, |rows, columns| {
                let columns = self.narrow(columns.start, columns.len());
                self.narrow(rows.start, rows.len()).cross(&columns, dtype)
            })
        })
    }

    /// `Σ_{t,u} [index_nt = index_mu] (right_nt · right_mu)`, or the product of dense rows if that is
    /// cheaper.
    pub(super) fn cross(&self, other: &Self, dtype: DType) -> Tensor<2> {
        let ([m, t, _], [n, u, _]) = (self.right.dims(), other.right.dims());
        if t * u > self.entries || m * t * n * u > TEMPORARY {
            return dense_cross(self.to_dense(), other.to_dense(), dtype);
        }
        let (indices, right) = self.flat();
        let (other_indices, other_right) = other.flat();
        let square = [m * t, n * u];
        let differ = indices
            .reshape([m * t, 1])
            .expand(square)
            .not_equal(other_indices.reshape([1, n * u]).expand(square));
        dense_cross(right, other_right, dtype)
            .mask_fill(differ, 0.0)
            .reshape([m, t, n, u])
            .sum_dim(3)
            .sum_dim(1)
            .reshape([m, n])
    }

    /// Inner products with the outer-product rows of the same table (a tied output head):
    /// `Σ_{t,u} left_mu[index_nt] (right_nt · right_mu)`.
    pub(super) fn cross_outer(&self, other: &Outer, dtype: DType) -> Tensor<2> {
        let ([m, t, o], [n, u, _]) = (self.right.dims(), other.right().dims());
        let (indices, right) = self.flat();
        let read = to_dtype(other.left(), dtype)
            .reshape([n * u, self.entries])
            .select(1, indices)
            .transpose();
        let products = dense_cross(right, other.right().reshape([n * u, o]), dtype);
        (read * products)
            .reshape([m, t, n, u])
            .sum_dim(3)
            .sum_dim(1)
            .reshape([m, n])
    }

    pub(super) fn matvec(&self, v: Tensor<1>) -> Tensor<1> {
        let [m, t, o] = self.right.dims();
        let (indices, right) = self.flat();
        let read = v.reshape([self.entries, o]).select(0, indices);
        (read * right).reshape([m, t * o]).sum_dim(1).squeeze_dim(1)
    }

    pub(super) fn t_matvec(&self, c: Tensor<1>) -> Tensor<1> {
        let [m, _, o] = self.right.dims();
        let scaled = Self {
            right: self.right.clone() * c.reshape([m, 1, 1]),
            ..self.clone()
        };
        scaled.scatter().reshape([self.entries * o])
    }
}
