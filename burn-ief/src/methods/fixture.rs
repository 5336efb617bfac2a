//! What the tests of the rules share: systems of dense rows and distances of updates.

use proptest::prelude::*;

use crate::linalg::{Symmetric, dot, norm};

/// Inner products of dense rows.
pub fn gram(rows: &[Vec<f64>]) -> Symmetric {
    Symmetric::from_fn(rows.len(), |i, j| dot(&rows[i], &rows[j]))
}

/// Jᵀc of dense rows.
pub fn combine(rows: &[Vec<f64>], c: &[f64]) -> Vec<f64> {
    let width = rows[0].len();
    (0..width)
        .map(|p| rows.iter().zip(c).map(|(row, c)| c * row[p]).sum())
        .collect()
}

/// Relative distance of two vectors.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b).max(1e-300)
}

/// Random dense rows with entries between -1 and 1.
pub fn rows(samples: usize, width: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
    proptest::collection::vec(proptest::collection::vec(-1.0..1.0f64, width), samples)
}
