//! Damped symmetric solves with a report.

use super::report::{SolveReport, SolveRoute};
use crate::error::Error;
use crate::linalg::{Cholesky, Eigen, Symmetric, norm};

/// Solve `(A + λI) x = b` on the host, with a report.
///
/// It factorises by Cholesky, and falls back to an eigendecomposition if that fails or if the
/// matrix is too ill-conditioned for f64. `floor` is only reported.
///
/// ```
/// use burn_ief::solve::{SolveRoute, Symmetric, solve_damped};
///
/// let a = Symmetric::from_fn(2, |i, j| if i == j { 3.0 } else { 0.0 });
/// let (x, report) = solve_damped(&a, &[8.0, 4.0], 1.0, 0.0)?;
/// assert_eq!((x.as_slice(), report.route), (&[2.0, 1.0][..], SolveRoute::Cholesky));
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Eigen`] if an entry is NaN or infinite, or if the eigendecomposition does not converge.
///
/// # Panics
///
/// Panics if `b` does not have an entry for each row of `a`.
pub fn solve_damped(
    a: &Symmetric,
    b: &[f64],
    lambda: f64,
    floor: f64,
) -> Result<(Vec<f64>, SolveReport), Error> {
    let hopeless = 1.0 / (f64::EPSILON * a.size().max(1) as f64);
    let report = |route, condition, rank, x: &[f64]| {
        let image = a.mul(x);
        let image = image.iter().zip(x).map(|(image, x)| image + lambda * x);
        let residual: Vec<f64> = image.zip(b).map(|(p, q)| p - q).collect();
        let size = norm(b);
        let residual = if size > 0.0 {
            norm(&residual) / size
        } else {
            0.0
        };
        SolveReport::new(lambda, floor, route, condition, rank, residual)
    };
    if let Some(cholesky) = Cholesky::shifted(a, lambda).filter(|c| c.condition() < hopeless) {
        let x = cholesky.solve(b);
        let report = report(SolveRoute::Cholesky, cholesky.condition(), b.len(), &x);
        return Ok((x, report));
    }
    let eigen = Eigen::new(a)?;
    let shifted = |value: f64| value.max(0.0) + lambda;
    let cut = eigen.threshold();
    let kept = |value: f64| shifted(value) > cut;
    let x = eigen.apply(b, |value| {
        if kept(value) {
            1.0 / shifted(value)
        } else {
            0.0
        }
    });
    let values = eigen.values();
    let rank = values.iter().filter(|&&value| kept(value)).count();
    let largest = values.last().map_or(0.0, |&value| shifted(value));
    let smallest = values
        .first()
        .map_or(f64::INFINITY, |&value| shifted(value));
    let report = report(SolveRoute::Eigen, largest / smallest, rank, &x);
    Ok((x, report))
}
