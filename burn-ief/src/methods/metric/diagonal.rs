//! Every entry by itself.

use burn::tensor::Tensor;

use super::Kept;
use crate::rows::{EntryScale, Squares};

/// An entry has its own mean.
#[derive(Debug)]
pub(super) struct Diagonal;

impl Kept for Diagonal {
    fn wanted(&self) -> Squares {
        Squares::Entries
    }

    fn lengths(&self, [r, c]: [usize; 2]) -> Vec<usize> {
        vec![r * c]
    }

    fn means(&self, sums: Vec<Tensor<1>>, _shape: [usize; 2]) -> Vec<Tensor<1>> {
        sums
    }

    fn scale(&self, mut means: Vec<Tensor<1>>, power: f64) -> EntryScale {
        EntryScale::Entries(means.swap_remove(0).powf_scalar(-power))
    }
}
