//! One diagonal block of the inverse Fisher matrix.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatRef, Par};

use super::config::Compensation;
use crate::error::Error;
use crate::linalg::{Cholesky, Symmetric, factorise};

/// Blocks that are smaller than this take this many rows at once all the same: a step of Woodbury's
/// identity solves a system with one equation per row, which for few rows is dominated by overhead.
const FEWEST_ROWS: usize = 16;

/// How to make a matrix of this module positive definite in f64.
const RAISE_DAMPING: &str = "raise the `damping` of `WoodFisherConfig`";

/// The inverse V of the diagonal block of `λI + (1/N) Σ_n r_n r_nᵀ` at some entries of r_n.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Which entries of a row belong to the block.
    pub entries: Range<usize>,
    /// Symmetric; both triangles are stored.
    pub inverse: Mat<f64>,
}

impl Block {
    /// The block before any row: I/λ.
    pub fn new(entries: Range<usize>, lambda: f64) -> Self {
        let count = entries.len();
        let diagonal = |i, j| if i == j { 1.0 / lambda } else { 0.0 };
        Self {
            entries,
            inverse: Mat::from_fn(count, count, diagonal),
        }
    }

    /// Add the entries `[m, B]` of rows to the sum over N = `samples` rows in all.
    ///
    /// # Errors
    ///
    /// [`Error::NotPositiveDefinite`] if the damping is below the precision of f64. The block then
    /// has some of the rows.
    pub fn add_rows(&mut self, rows: MatRef<'_, f64>, samples: f64) -> Result<(), Error> {
        let step = self.entries.len().max(FEWEST_ROWS);
        for start in (0..rows.nrows()).step_by(step) {
            let count = step.min(rows.nrows() - start);
            self.add_rows_at_once(rows.subrows(start, count), samples)?;
        }
        Ok(())
    }

    /// V ← V − VRᵀ (N·I + RVRᵀ)⁻¹ RV.
    fn add_rows_at_once(&mut self, rows: MatRef<'_, f64>, samples: f64) -> Result<(), Error> {
        let (count, size) = (rows.nrows(), self.entries.len());
        // RV.
        let mut image = Mat::<f64>::zeros(count, size);
        let inverse = self.inverse.as_ref();
        matmul(image.as_mut(), Accum::Replace, rows, inverse, 1.0, Par::Seq);
        // N·I + RVRᵀ.
        let mut system = Mat::from_fn(count, count, |i, j| if i == j { samples } else { 0.0 });
        let transposed = rows.transpose();
        matmul(
            system.as_mut(),
            Accum::Add,
            &image,
            transposed,
            1.0,
            Par::Seq,
        );
        factorise(system.as_mut()).ok_or(Error::NotPositiveDefinite {
            what: "the system that adds a batch of gradients to a block of the Fisher matrix",
            size: count,
            fix: RAISE_DAMPING,
        })?;
        // L⁻¹RV, whose product with its transpose is the correction. Only the lower triangle is
        // computed.
        solve_lower_triangular_in_place(system.as_ref(), image.as_mut(), Par::Seq);
        triangular::matmul(
            self.inverse.as_mut(),
            BlockStructure::TriangularLower,
            Accum::Add,
            image.transpose(),
            BlockStructure::Rectangular,
            &image,
            BlockStructure::Rectangular,
            -1.0,
            Par::Seq,
        );
        for j in 0..size {
            for i in 0..j {
                self.inverse[(i, j)] = self.inverse[(j, i)];
            }
        }
        Ok(())
    }

    /// What each removal costs if the weights are removed one after another, cheapest first, and the
    /// other weights are adjusted after each removal; infinite for weights that are pruned already.
    pub fn elimination_costs(&self, weights: &[f64], pruned: &[bool]) -> Vec<f64> {
        let mut weights = weights.to_vec();
        let mut inverse = self.inverse.clone();
        let mut left: Vec<usize> = (0..pruned.len()).filter(|&q| !pruned[q]).collect();
        let mut costs = vec![f64::INFINITY; weights.len()];
        let mut highest = 0.0f64;
        while !left.is_empty() {
            let saliency = |q: usize| weights[q].powi(2) / (2.0 * inverse[(q, q)]);
            let cheapest = (0..left.len())
                .min_by(|&a, &b| saliency(left[a]).total_cmp(&saliency(left[b])))
                .expect("a weight is left");
            let q = left[cheapest];
            costs[q] = if saliency(q) >= 0.0 {
                // Above the cost before, so that sorting by cost keeps the order of removal.
                saliency(q).max(highest.next_up())
            } else {
                // `max` would hide a NaN, and a pivot that rounding made negative.
                f64::NAN
            };
            highest = highest.max(costs[q]);
            // `remove` keeps the order: of equal saliencies the first weight is removed first.
            left.remove(cheapest);
            // Whole columns are contiguous in memory. At removed weights the column of q is zero
            // here, and their entries of the inverse are not read any more.
            let mut column = vec![0.0; weights.len()];
            for &p in &left {
                column[p] = inverse[(p, q)];
            }
            let (weight, pivot) = (weights[q], inverse[(q, q)]);
            for &r in &left {
                let factor = column[r] / pivot;
                weights[r] -= factor * weight;
                for (entry, other) in inverse.col_as_slice_mut(r).iter_mut().zip(&column) {
                    *entry -= factor * other;
                }
            }
        }
        costs
    }

    /// The weights after the chosen ones were set to zero and the others adjusted.
    ///
    /// # Errors
    ///
    /// [`Error::NotPositiveDefinite`] if the damping is below the precision of f64.
    pub fn remove(
        &self,
        weights: &[f64],
        chosen: &[bool],
        compensation: Compensation,
    ) -> Result<Vec<f64>, Error> {
        let removed: Vec<usize> = (0..chosen.len()).filter(|&q| chosen[q]).collect();
        if removed.is_empty() {
            return Ok(weights.to_vec());
        }
        // The change is δw = −V_:Q x.
        let x: Vec<f64> = match compensation {
            Compensation::None => vec![0.0; removed.len()],
            Compensation::Summed => removed
                .iter()
                .map(|&q| weights[q] / self.inverse[(q, q)])
                .collect(),
            Compensation::Joint => {
                let size = removed.len();
                let part = Symmetric::from_fn(size, |i, j| self.inverse[(removed[i], removed[j])]);
                let cholesky = Cholesky::new(&part).ok_or(Error::NotPositiveDefinite {
                    what: "the inverse Fisher matrix of the weights that a block loses",
                    size,
                    fix: RAISE_DAMPING,
                })?;
                let values: Vec<f64> = removed.iter().map(|&q| weights[q]).collect();
                cholesky.solve(&values)
            }
        };
        let mut after = vec![0.0; weights.len()];
        for (p, &weight) in weights.iter().enumerate() {
            if !chosen[p] {
                let changes = removed.iter().zip(&x);
                let change: f64 = changes.map(|(&q, x)| self.inverse[(p, q)] * x).sum();
                after[p] = weight - change;
            }
        }
        Ok(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_that_is_not_positive_definite_is_named() {
        // As if rounding had made the inverse indefinite.
        let mut block = Block {
            entries: 0..2,
            inverse: Mat::from_fn(2, 2, |i, j| if i == j { -1e3 } else { 0.0 }),
        };
        let row = [1.0, 1.0];
        let rows = MatRef::from_row_major_slice(&row, 1, 2);
        let added = block.add_rows(rows, 1.0).unwrap_err();
        let removed = block.remove(&row, &[true, true], Compensation::Joint);
        for error in [added, removed.unwrap_err()] {
            let text = error.to_string();
            assert!(text.contains("is not positive definite in f64"), "{text}");
            assert!(text.contains("raise the `damping`"), "{text}");
        }
    }
}
