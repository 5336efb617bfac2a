//! The inverse of a block-diagonal matrix, built up from rows by Woodbury's identity.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

use super::config::Compensation;
use crate::error::Error;
use crate::linalg::{Cholesky, Symmetric, factorise};

/// Blocks that are smaller than this take this many rows at once all the same: a step of Woodbury's
/// identity solves a system with one equation per row, which for few rows is dominated by overhead.
const FEWEST_ROWS: usize = 16;

/// How to make a matrix of this module positive definite in f64.
const RAISE_DAMPING: &str = "raise the `damping` of `WoodFisherConfig`";

/// Inverses V of the diagonal blocks of `λI + (1/N) Σ_n r_n r_nᵀ`, where r_n has `width` entries.
#[derive(Debug, Clone)]
pub(super) struct InverseBlocks {
    blocks: Vec<Block>,
}

#[derive(Debug, Clone)]
struct Block {
    /// Which entries of a row belong to the block.
    entries: Range<usize>,
    /// Symmetric; both triangles are stored.
    inverse: Mat<f64>,
}

impl InverseBlocks {
    /// The blocks before any row: I/λ.
    pub fn new(width: usize, size: usize, lambda: f64) -> Self {
        let mut blocks = Vec::new();
        for start in (0..width).step_by(size) {
            let entries = start..start.saturating_add(size).min(width);
            let count = entries.len();
            let diagonal = |i, j| if i == j { 1.0 / lambda } else { 0.0 };
            blocks.push(Block {
                entries,
                inverse: Mat::from_fn(count, count, diagonal),
            });
        }
        Self { blocks }
    }

    /// Add rows, row-major `[m, width]`, to the sum over N = `samples` rows in all.
    ///
    /// # Errors
    ///
    /// [`Error::NotPositiveDefinite`] if the damping is below the precision of f64. Some blocks then
    /// have the rows and others do not.
    pub fn add_rows(&mut self, rows: &[f64], width: usize, samples: f64) -> Result<(), Error> {
        let count = rows.len() / width.max(1);
        let rows = MatRef::from_row_major_slice(rows, count, width);
        self.blocks.par_iter_mut().try_for_each(|block| {
            let rows = rows.subcols(block.entries.start, block.entries.len());
            block.add_rows(rows, samples)
        })
    }

    /// The diagonal of the inverse.
    pub fn diagonal(&self) -> Vec<f64> {
        let mut diagonal = Vec::new();
        for block in &self.blocks {
            for q in 0..block.entries.len() {
                diagonal.push(block.inverse[(q, q)]);
            }
        }
        diagonal
    }

    /// What each removal costs if the weights of a block are removed one after another, cheapest
    /// first, and the other weights are adjusted after each removal. The costs of a block rise from
    /// one removal to the next. Infinite for weights that are pruned already.
    pub fn elimination_costs(&self, weights: &[f64], pruned: &[bool]) -> Vec<f64> {
        let parts: Vec<Vec<f64>> = self
            .blocks
            .par_iter()
            .map(|block| {
                let entries = || block.entries.clone();
                block.elimination_costs(&weights[entries()], &pruned[entries()])
            })
            .collect();
        parts.concat()
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
        let parts: Result<Vec<Vec<f64>>, Error> = self
            .blocks
            .par_iter()
            .map(|block| {
                let entries = || block.entries.clone();
                block.remove(&weights[entries()], &chosen[entries()], compensation)
            })
            .collect();
        Ok(parts?.concat())
    }
}

impl Block {
    fn add_rows(&mut self, rows: MatRef<'_, f64>, samples: f64) -> Result<(), Error> {
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

    fn elimination_costs(&self, weights: &[f64], pruned: &[bool]) -> Vec<f64> {
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

    fn remove(
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
    use crate::linalg::dot;
    use proptest::prelude::*;

    /// λI + (1/N) RᵀR.
    fn fisher(rows: &[Vec<f64>], lambda: f64) -> Symmetric {
        let (n, width) = (rows.len() as f64, rows[0].len());
        let sums = Symmetric::from_fn(width, |p, q| {
            rows.iter().map(|row| row[p] * row[q]).sum::<f64>() / n
        });
        sums.shifted(lambda)
    }

    fn built(rows: &[Vec<f64>], size: usize, lambda: f64, batch: usize) -> InverseBlocks {
        let width = rows[0].len();
        let mut blocks = InverseBlocks::new(width, size, lambda);
        for batch in rows.chunks(batch) {
            let batch = batch.concat();
            blocks.add_rows(&batch, width, rows.len() as f64).unwrap();
        }
        blocks
    }

    fn rows(samples: usize, width: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
        proptest::collection::vec(proptest::collection::vec(-1.0..1.0f64, width), samples)
    }

    fn near(a: &[f64], b: &[f64]) -> bool {
        let scale = b.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let mut pairs = a.iter().zip(b);
        a.len() == b.len() && pairs.all(|(a, b)| (a - b).abs() <= 1e-9 * scale)
    }

    proptest! {
        #[test]
        fn one_block_is_the_dense_inverse(rows in rows(40, 7), lambda in 1e-3..1.0f64, batch in 1usize..41) {
            let blocks = built(&rows, 7, lambda, batch);
            let dense = fisher(&rows, lambda).inverse().unwrap();
            let found = &blocks.blocks[0].inverse;
            let found: Vec<f64> = (0..49).map(|k| found[(k / 7, k % 7)]).collect();
            prop_assert!(near(&found, dense.values()));
        }

        #[test]
        fn blocks_are_inverses_of_blocks(rows in rows(9, 8), lambda in 1e-3..1.0f64) {
            let blocks = built(&rows, 3, lambda, 4);
            let parts = [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]];
            let dense = fisher(&rows, lambda);
            let inverses = parts.map(|part| dense.principal(&part).inverse().unwrap().diagonal());
            prop_assert!(near(&blocks.diagonal(), &inverses.concat()));
        }

        #[test]
        fn one_removal_is_the_best_change(rows in rows(20, 6), q in 0usize..6) {
            let weights = [0.3, -1.0, 0.7, 0.2, -0.4, 1.1];
            let dense = fisher(&rows, 1e-2);
            let blocks = built(&rows, 6, 1e-2, 5);
            let chosen: Vec<bool> = (0..6).map(|p| p == q).collect();
            for how in [Compensation::Summed, Compensation::Joint] {
                let left = blocks.remove(&weights, &chosen, how).unwrap();
                let delta: Vec<f64> = left.iter().zip(&weights).map(|(a, b)| a - b).collect();
                // Stationary: Fδ is zero but for the weight that is held at zero.
                let slope = dense.mul(&delta);
                prop_assert!((0..6).all(|p| p == q || slope[p].abs() < 1e-9));
                // It costs what the saliency says.
                let cost = 0.5 * dot(&delta, &slope);
                let saliency = weights[q].powi(2) / (2.0 * blocks.diagonal()[q]);
                prop_assert!((cost / saliency - 1.0).abs() < 1e-9);
            }
        }

        #[test]
        fn joint_removal_is_the_best_change_and_no_other_is_better(
            rows in rows(20, 8),
            chosen in proptest::collection::vec(any::<bool>(), 8),
        ) {
            let weights = [0.3, -1.0, 0.7, 0.2, -0.4, 1.1, 0.9, -0.6];
            let dense = fisher(&rows, 1e-2);
            let blocks = built(&rows, 8, 1e-2, 20);
            let cost = |how| {
                let left = blocks.remove(&weights, &chosen, how).unwrap();
                let delta: Vec<f64> = left.iter().zip(&weights).map(|(a, b)| a - b).collect();
                let slope = dense.mul(&delta);
                (dot(&delta, &slope), slope, left)
            };
            let (joint, slope, left) = cost(Compensation::Joint);
            prop_assert!((0..8).all(|p| chosen[p] || slope[p].abs() < 1e-9));
            prop_assert!((0..8).all(|p| !chosen[p] || left[p] == 0.0));
            for how in [Compensation::None, Compensation::Summed] {
                prop_assert!(cost(how).0 >= joint * (1.0 - 1e-9));
            }
        }
    }

    proptest! {
        #[test]
        fn one_after_another_is_the_greedy_search(
            rows in rows(20, 7),
            pruned in proptest::collection::vec(any::<bool>(), 7),
        ) {
            let weights = [0.3, -1.0, 0.7, 0.2, -0.4, 1.1, 0.9];
            let dense = fisher(&rows, 1e-2);
            let blocks = built(&rows, 7, 1e-2, 20);
            let none = [false; 7];
            let costs = blocks.elimination_costs(&weights, &none);
            // From the quadratic model itself, all others moving as they best can.
            let joint = |removed: &[usize]| {
                let chosen: Vec<bool> = (0..7).map(|q| removed.contains(&q)).collect();
                let left = blocks.remove(&weights, &chosen, Compensation::Joint).unwrap();
                let delta: Vec<f64> = left.iter().zip(&weights).map(|(a, b)| a - b).collect();
                0.5 * dot(&delta, &dense.mul(&delta))
            };
            let (mut removed, mut highest) = (Vec::new(), 0.0f64);
            while removed.len() < 7 {
                let next = (0..7).filter(|q| !removed.contains(q)).map(|q| {
                    let cost = joint(&[&removed[..], &[q]].concat()) - joint(&removed);
                    (cost, q)
                });
                let (cost, q) = next.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
                highest = highest.max(cost);
                prop_assert!((costs[q] / highest - 1.0).abs() < 1e-6);
                removed.push(q);
            }
            let costs = blocks.elimination_costs(&weights, &pruned);
            prop_assert!((0..7).all(|q| costs[q].is_infinite() == pruned[q]));
        }
    }

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

    #[test]
    fn without_compensation_the_others_stay() {
        let blocks = InverseBlocks::new(3, 2, 0.5);
        let left = blocks.remove(&[1.0, 2.0, 3.0], &[false, true, false], Compensation::None);
        assert_eq!(left.unwrap(), [1.0, 0.0, 3.0]);
        assert_eq!(blocks.diagonal(), [2.0; 3]);
    }
}
