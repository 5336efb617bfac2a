//! How a system was solved.

use std::fmt;

/// Which factorisation solved the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SolveRoute {
    /// Cholesky factorisation.
    Cholesky,
    /// Eigendecomposition: the matrix was not positive definite in f64, or too ill-conditioned.
    /// Directions below the rounding threshold are left out (the minimum-norm solution).
    Eigen,
}

/// How the system of an update was solved, to be logged with the loss.
///
/// ```
/// use burn_ief::solve::{Symmetric, solve_damped};
///
/// let a = Symmetric::from_fn(2, |i, j| if i == j { 1.0 } else { 0.0 });
/// let (_, report) = solve_damped(&a, &[1.0, 1.0], 0.5, 0.0)?;
/// assert!(report.to_string().starts_with("damping 5.000e-1"));
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SolveReport {
    /// λ that was used (sum form).
    pub damping: f64,
    /// The lower bound that rounding sets for λ; 0 for Gram matrices in f64.
    pub floor: f64,
    /// Which factorisation solved the system.
    pub route: SolveRoute,
    /// Estimated condition number of the damped matrix.
    pub condition: f64,
    /// Numerical rank of the damped matrix.
    pub rank: usize,
    /// Relative residual ‖A x − b‖ / ‖b‖.
    pub residual: f64,
    /// Samples with a zero row (or s_n = 0): they contribute nothing.
    pub zero_rows: Vec<usize>,
    /// Samples that the cosine filter left out.
    pub dropped: Vec<usize>,
    /// To first order, the decrease of each sample's loss (sum form) for a step size of 1, before
    /// normalisation. Empty until the update is formed.
    pub decrease: Vec<f64>,
    /// Factor by which the trust region scaled the update; 1 inside the region.
    pub scale: f64,
}

impl SolveReport {
    /// A report on all rows, before the trust region.
    pub fn new(
        damping: f64,
        floor: f64,
        route: SolveRoute,
        condition: f64,
        rank: usize,
        residual: f64,
    ) -> Self {
        Self {
            damping,
            floor,
            route,
            condition,
            rank,
            residual,
            zero_rows: Vec::new(),
            dropped: Vec::new(),
            decrease: Vec::new(),
            scale: 1.0,
        }
    }
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
        ] {
            if count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        if self.scale != 1.0 {
            write!(f, ", scaled by {:.3e}", self.scale)?;
        }
        Ok(())
    }
}
