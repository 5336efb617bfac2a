//! What a solve did.

use std::fmt;

/// How the system was solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SolveRoute {
    /// Cholesky factorisation.
    Cholesky,
    /// Eigendecomposition: the matrix was not positive definite in f64, or hopelessly conditioned.
    /// Directions below the rounding threshold are left out (the minimum-norm solution).
    Eigen,
}

/// What the M x M solve of an update did, to be logged beside the loss.
#[derive(Debug, Clone, PartialEq)]
pub struct SolveReport {
    /// λ that was used (sum form).
    pub damping: f64,
    /// The precision floor under λ; 0 for Gram matrices in f64.
    pub floor: f64,
    /// How the system was solved.
    pub route: SolveRoute,
    /// Estimated condition number of the damped matrix.
    pub condition: f64,
    /// Numerical rank of the damped matrix.
    pub rank: usize,
    /// Relative residual ‖A x − b‖ / ‖b‖.
    pub residual: f64,
    /// Samples with a zero row (or s_n = 0): they contribute nothing.
    pub zero_rows: Vec<usize>,
    /// Samples left out by the cosine filter.
    pub dropped: Vec<usize>,
    /// Paths of trainable parameters that no recorded use reached.
    pub unused: Vec<String>,
    /// Factor by which a trust region or a normalisation scaled the update.
    pub scale: f64,
}

impl fmt::Display for SolveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "damping {:.3e}, condition {:.1e}, rank {}, residual {:.1e}, {:?}",
            self.damping, self.condition, self.rank, self.residual, self.route
        )?;
        for (name, count) in [
            ("zero rows", self.zero_rows.len()),
            ("dropped", self.dropped.len()),
            ("unused parameters", self.unused.len()),
        ] {
            if count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        match self.scale == 1.0 {
            true => Ok(()),
            false => write!(f, ", scaled by {:.3e}", self.scale),
        }
    }
}
