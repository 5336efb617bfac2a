//! Means of rows and of columns.

use burn::tensor::Tensor;

use super::Kept;
use crate::rows::{EntryScale, Squares};

/// Row i has the mean `R_i`, column j the mean `C_j`, and the matrix the mean m. An entry has
/// `w_ij = R_i C_j / m`.
#[derive(Debug)]
pub(super) struct Separable;

impl Kept for Separable {
    fn wanted(&self) -> Squares {
        Squares::Margins
    }

    fn lengths(&self, [r, c]: [usize; 2]) -> Vec<usize> {
        vec![r, c]
    }

    fn means(&self, sums: Vec<Tensor<1>>, [r, c]: [usize; 2]) -> Vec<Tensor<1>> {
        let entries = [c, r].map(|count| count.max(1) as f64);
        let sums = sums.into_iter().zip(entries);
        sums.map(|(sums, count)| sums / count).collect()
    }

    fn scale(&self, means: Vec<Tensor<1>>, power: f64) -> EntryScale {
        let [rows, columns] = means.try_into().expect("rows and columns");
        let mean = rows.clone().mean();
        EntryScale::Product {
            rows: (rows / mean).powf_scalar(-power),
            columns: columns.powf_scalar(-power),
        }
    }
}
