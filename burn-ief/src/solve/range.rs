//! The part of a vector that lies in the range of Ĵᵀ, from inner products alone.

use crate::error::Error;
use crate::linalg::{Cholesky, Eigen, Symmetric, dot};

/// Solves `K̂a = b` for consistent b = Ĵh, so that Ĵᵀa is the projection of h on the rows of Ĵ.
///
/// Rows of fitted samples are shorter than others by orders of magnitude. The system is scaled to
/// rows of unit length first: eigenvalues of K̂ itself have the error of the largest.
pub(crate) struct Range {
    k: Symmetric,
    /// Rows that are not zero.
    live: Vec<usize>,
    /// 1 over the length of each of them.
    scale: Vec<f64>,
    factor: Factor,
}

enum Factor {
    Full(Cholesky),
    /// With an orthonormal basis of the null space of K̂.
    Deficient(Eigen, Vec<Vec<f64>>),
}

impl Range {
    pub fn new(k_hat: &Symmetric) -> Result<Self, Error> {
        // Above this, the eigen route tells dependent rows from independent ones.
        const ILL_CONDITIONED: f64 = 1e12;
        let live: Vec<usize> = (0..k_hat.size())
            .filter(|&row| k_hat.get(row, row) > 0.0)
            .collect();
        let k = k_hat.principal(&live).into_owned();
        let scale: Vec<f64> = k.diagonal().iter().map(|d| 1.0 / d.sqrt()).collect();
        let cosines = k.scaled(&scale);
        let cholesky = Cholesky::new(&cosines).filter(|c| c.condition() < ILL_CONDITIONED);
        let factor = match cholesky {
            Some(cholesky) => Factor::Full(cholesky),
            None => {
                let eigen = Eigen::new(&cosines)?;
                let null = null_space(&eigen, &scale);
                Factor::Deficient(eigen, null)
            }
        };
        Ok(Self {
            k,
            live,
            scale,
            factor,
        })
    }

    /// a for b, both with an entry for every row of Ĵ; the smallest a where rows are dependent.
    pub fn coefficients(&self, b: &[f64]) -> Vec<f64> {
        let mut all = vec![0.0; b.len()];
        let b: Vec<f64> = self.live.iter().map(|&row| b[row]).collect();
        let mut a = self.solve(&b);
        // Again, for the digits that the first solve lost.
        let image = self.k.mul(&a);
        let left: Vec<f64> = b.iter().zip(image).map(|(b, image)| b - image).collect();
        a.iter_mut()
            .zip(self.solve(&left))
            .for_each(|(a, c)| *a += c);
        if let Factor::Deficient(_, null) = &self.factor {
            for direction in null {
                let share = dot(&a, direction);
                a.iter_mut()
                    .zip(direction)
                    .for_each(|(a, n)| *a -= share * n);
            }
        }
        self.live.iter().zip(a).for_each(|(&row, a)| all[row] = a);
        all
    }

    fn solve(&self, b: &[f64]) -> Vec<f64> {
        let scaled: Vec<f64> = b.iter().zip(&self.scale).map(|(b, s)| b * s).collect();
        let a = match &self.factor {
            Factor::Full(cholesky) => cholesky.solve(&scaled),
            Factor::Deficient(eigen, _) => {
                let cut = eigen.threshold();
                eigen.apply(&scaled, |value| if value > cut { 1.0 / value } else { 0.0 })
            }
        };
        a.iter().zip(&self.scale).map(|(a, s)| a * s).collect()
    }
}

/// Combinations of the unscaled rows that vanish, orthonormal.
fn null_space(eigen: &Eigen, scale: &[f64]) -> Vec<Vec<f64>> {
    let cut = eigen.threshold();
    let mut basis: Vec<Vec<f64>> = Vec::new();
    for (k, _) in eigen
        .values()
        .iter()
        .enumerate()
        .filter(|(_, value)| **value <= cut)
    {
        let vector = eigen.vector(k);
        let mut vector: Vec<f64> = vector.iter().zip(scale).map(|(v, s)| v * s).collect();
        // Twice is enough for orthogonality to rounding.
        for _ in 0..2 {
            for known in &basis {
                let share = dot(&vector, known);
                vector
                    .iter_mut()
                    .zip(known)
                    .for_each(|(v, n)| *v -= share * n);
            }
        }
        let length = dot(&vector, &vector).sqrt();
        if length > 0.0 {
            vector.iter_mut().for_each(|v| *v /= length);
            basis.push(vector);
        }
    }
    basis
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_dependent_rows_keep_their_digits() {
        // Rows (1e-6, 0), (1, 1), twice the second, and zero; h = 3 (1e-6, 0) + 2 (1, 1).
        let rows = [[1e-6, 0.0], [1.0, 1.0], [2.0, 2.0], [0.0, 0.0]];
        let k = Symmetric::from_fn(4, |i, j| dot(&rows[i], &rows[j]));
        let h = [3e-6 + 2.0, 2.0];
        let b = rows.map(|row| dot(&row, &h));
        let a = Range::new(&k).unwrap().coefficients(&b);
        // Smallest: 2 (1, 1) is 0.4 of the second row and 0.8 of the third.
        let expected = [3.0, 0.4, 0.8, 0.0];
        let error: f64 = a.iter().zip(expected).map(|(a, e)| (a - e).abs()).sum();
        // b itself holds 1e-6 of 2 to a relative 1e-16 / 1e-6.
        assert!(error < 1e-9, "{a:?}");
    }
}
