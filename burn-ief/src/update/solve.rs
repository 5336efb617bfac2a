//! Damped symmetric solves with a report.

use super::report::{SolveReport, SolveRoute};
use crate::error::Error;
use crate::linalg::{Cholesky, Eigen, Symmetric, norm};

/// Solve `(A + λI) x = b`.
///
/// Cholesky first; the eigen route where it fails or where the condition leaves no digit.
pub(super) fn solve(
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
        SolveReport {
            damping: lambda,
            floor,
            route,
            condition,
            rank,
            residual: if size > 0.0 {
                norm(&residual) / size
            } else {
                0.0
            },
            zero_rows: Vec::new(),
            dropped: Vec::new(),
            unused: Vec::new(),
            scale: 1.0,
        }
    };
    if let Some(cholesky) = Cholesky::shifted(a, lambda).filter(|c| c.condition() < hopeless) {
        let x = cholesky.solve(b);
        let report = report(SolveRoute::Cholesky, cholesky.condition(), b.len(), &x);
        return Ok((x, report));
    }
    let eigen = Eigen::new(a)?;
    let shifted = |value: f64| value.max(0.0) + lambda;
    let largest = eigen.values().last().map_or(0.0, |&value| shifted(value));
    let cut = eigen.threshold();
    let kept = |value: f64| shifted(value) > cut;
    let x = eigen.apply(b, |value| {
        if kept(value) {
            1.0 / shifted(value)
        } else {
            0.0
        }
    });
    let rank = eigen.values().iter().filter(|&&value| kept(value)).count();
    let smallest = eigen
        .values()
        .iter()
        .map(|&v| shifted(v))
        .fold(f64::INFINITY, f64::min);
    let report = report(SolveRoute::Eigen, largest / smallest, rank, &x);
    Ok((x, report))
}
