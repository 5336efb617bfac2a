//! The inverse of a block-diagonal matrix, built up from rows by Woodbury's identity.

use faer::MatRef;
use rayon::prelude::*;

use super::block::Block;
use super::config::Compensation;
use crate::error::Error;

/// Inverses V of the diagonal blocks of `λI + (1/N) Σ_n r_n r_nᵀ`, where r_n has `width` entries.
#[derive(Debug, Clone)]
pub(super) struct InverseBlocks {
    blocks: Vec<Block>,
}

impl InverseBlocks {
    /// The blocks before any row: I/λ.
    pub fn new(width: usize, size: usize, lambda: f64) -> Self {
        let mut blocks = Vec::new();
        for start in (0..width).step_by(size) {
            let entries = start..start.saturating_add(size).min(width);
            blocks.push(Block::new(entries, lambda));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{Symmetric, dot};
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
    fn without_compensation_the_others_stay() {
        let blocks = InverseBlocks::new(3, 2, 0.5);
        let left = blocks.remove(&[1.0, 2.0, 3.0], &[false, true, false], Compensation::None);
        assert_eq!(left.unwrap(), [1.0, 0.0, 3.0]);
        assert_eq!(blocks.diagonal(), [2.0; 3]);
    }
}
