//! The mean of a parameter.

use burn::tensor::Tensor;

use super::Kept;
use crate::rows::{EntryScale, Squares};

/// All entries of a parameter have its mean.
#[derive(Debug)]
pub(super) struct PerTensor;

impl Kept for PerTensor {
    fn wanted(&self) -> Squares {
        Squares::Margins
    }

    fn lengths(&self, _shape: [usize; 2]) -> Vec<usize> {
        vec![1]
    }

    fn means(&self, mut sums: Vec<Tensor<1>>, [r, c]: [usize; 2]) -> Vec<Tensor<1>> {
        let of_rows = sums.swap_remove(0);
        vec![of_rows.sum() / (r * c).max(1) as f64]
    }

    fn scale(&self, mut means: Vec<Tensor<1>>, power: f64) -> EntryScale {
        let rows = means.swap_remove(0).powf_scalar(-power);
        let columns = rows.ones_like();
        EntryScale::Product { rows, columns }
    }
}
