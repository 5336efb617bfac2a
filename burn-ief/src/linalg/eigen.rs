//! Eigendecomposition.

use faer::{Mat, Side};

use super::Symmetric;
use crate::error::Error;

/// An eigendecomposition A = U diag(σ) Uᵀ, σ ascending.
pub struct Eigen {
    vectors: Mat<f64>,
    values: Vec<f64>,
}

impl Eigen {
    /// Decompose.
    ///
    /// # Errors
    ///
    /// [`Error::Eigen`] if an entry is NaN or infinite, or the iteration does not converge.
    pub fn new(a: &Symmetric) -> Result<Self, Error> {
        if a.values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Eigen { size: a.size });
        }
        if a.size == 0 {
            return Ok(Self {
                vectors: Mat::zeros(0, 0),
                values: Vec::new(),
            });
        }
        let decomposed = a.view().self_adjoint_eigen(Side::Lower);
        let eigen = decomposed.map_err(|_| Error::Eigen { size: a.size })?;
        let values = (0..a.size).map(|i| eigen.S()[i]).collect();
        let vectors = eigen.U().to_owned();
        Ok(Self { vectors, values })
    }

    /// The eigenvalues, ascending.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The eigenvector of the k-th eigenvalue.
    pub fn vector(&self, k: usize) -> Vec<f64> {
        (0..self.values.len())
            .map(|i| self.vectors[(i, k)])
            .collect()
    }

    /// U f(σ) Uᵀ b.
    pub fn apply(&self, b: &[f64], f: impl Fn(f64) -> f64) -> Vec<f64> {
        let n = b.len();
        let weights: Vec<f64> = (0..n)
            .map(|k| {
                let projected: f64 = (0..n).map(|i| self.vectors[(i, k)] * b[i]).sum();
                f(self.values[k]) * projected
            })
            .collect();
        (0..n)
            .map(|i| (0..n).map(|k| self.vectors[(i, k)] * weights[k]).sum())
            .collect()
    }

    /// U f(σ) Uᵀ.
    pub fn function(&self, f: impl Fn(f64) -> f64) -> Symmetric {
        let size = self.values.len();
        let scaled = Mat::from_fn(size, size, |i, k| self.vectors[(i, k)] * f(self.values[k]));
        let product = &scaled * self.vectors.transpose();
        Symmetric::from_fn(size, |i, j| product[(i, j)])
    }

    /// The threshold below which an eigenvalue counts as zero: n ε σ_max.
    pub fn threshold(&self) -> f64 {
        let largest = self.values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        self.values.len() as f64 * f64::EPSILON * largest
    }
}
