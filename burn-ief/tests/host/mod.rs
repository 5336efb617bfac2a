//! Dense systems on the host, for tests that compare with them.

use burn_ief::solve::{SolveRoute, Symmetric, solve_damped};

/// The solution of a system that is positive definite in f64.
pub fn solve(matrix: &Symmetric, b: &[f64]) -> Vec<f64> {
    let (x, report) = solve_damped(matrix, b, 0.0, 0.0).unwrap();
    assert_eq!(report.route, SolveRoute::Cholesky);
    x
}
