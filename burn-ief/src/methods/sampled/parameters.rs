//! The system of the parameters of SF and of the exact natural gradient, where there are no more of them
//! than rows with drawn labels.

use super::precision::{Lambda, Precision, mean_square};
use crate::error::Error;
use crate::linalg::{Cholesky, Symmetric, dot, norm};
use crate::solve::{Eigen, SolveReport, SolveRoute, refine, rounding_level, solve_damped};

/// The system of the parameters, where there are no more of them than drawn rows; returns `Δ − Δ₀`.
pub(super) fn solve_parameters(
    rows: &[Vec<f64>],
    contributes: &[bool],
    start: &[f64],
    precision: &Precision,
) -> Result<(Vec<f64>, SolveReport), Error> {
    let width = rows.first().map_or(0, Vec::len);
    let (truth, drawn) = rows.split_at(contributes.len());
    let ahead = &start[truth.len()..];
    let squares = truth.iter().map(|row| dot(row, row));
    let truth_square = mean_square(squares, contributes);
    let counting = truth.iter().zip(contributes).filter(|(_, counts)| **counts);
    let truth: Vec<Vec<f64>> = counting.map(|(row, _)| row.clone()).collect();
    let fisher = Symmetric::from_fn(width, |p, q| drawn.iter().map(|r| r[p] * r[q]).sum());
    let gradient: Vec<f64> = (0..width)
        .map(|p| {
            let slope: f64 = truth.iter().map(|r| r[p]).sum();
            let done = drawn.iter().zip(ahead).map(|(r, a)| r[p] * a);
            done.fold(slope, |left, done| left - done)
        })
        .collect();
    // The mean diagonal of ĴĴᵀ, as in the dual form.
    let trace: f64 = fisher.diagonal().iter().sum();
    let mean = trace / drawn.len().max(1) as f64;
    let Lambda {
        value: lambda,
        floor,
        no_curvature,
    } = precision.lambda(mean, truth_square, drawn.len());
    let (mut update, mut report) = solve_damped(&fisher, &gradient, lambda, floor)?;
    if report.route == SolveRoute::Cholesky
        && let Some(cholesky) = Cholesky::shifted(&fisher, lambda)
    {
        update = refine(update, &truth, drawn, ahead, lambda, |b| cholesky.solve(b));
    }
    // The gradient's own rounding, which 1/λ may blow up where the Fisher matrix is rounding too.
    let rounding = 4.0 * precision.rows * (truth.len() as f64 * truth_square).sqrt();
    if rounding > 1e-3 * lambda * norm(&update) {
        (update, report) =
            solve_above_rounding(&fisher, &gradient, &report, rounding, precision.rows)?;
    }
    report.zero_rows = (0..contributes.len())
        .filter(|&n| !contributes[n])
        .collect();
    report.no_curvature = no_curvature;
    let unsolved = report.route == SolveRoute::Eigen && lambda == 0.0 && norm(&gradient) > 0.0;
    if unsolved && report.residual > 1e-6 {
        return Err(Precision::undamped());
    }
    Ok((update, report))
}

/// The system of the parameters without the directions in which both the Fisher matrix and the
/// gradient are rounding of the rows. `solved` is the report of the solve that has them.
fn solve_above_rounding(
    fisher: &Symmetric,
    gradient: &[f64],
    solved: &SolveReport,
    rounding: f64,
    epsilon: f64,
) -> Result<(Vec<f64>, SolveReport), Error> {
    let eigen = Eigen::new(fisher)?;
    let cut = rounding_level(&eigen, fisher.diagonal().iter().sum(), epsilon);
    let lambda = solved.damping;
    let mut update = vec![0.0; gradient.len()];
    let (mut rank, mut left) = (0, 0.0);
    for (k, &value) in eigen.values().iter().enumerate() {
        let vector = eigen.vector(k);
        let slope = dot(&vector, gradient);
        let divisor = value.max(0.0) + lambda;
        let is_rounding = value <= cut && slope.abs() <= rounding;
        if is_rounding || divisor == 0.0 {
            left += if is_rounding { 0.0 } else { slope * slope };
            continue;
        }
        // Without damping, a direction without curvature has no finite solution.
        if lambda == 0.0 && value <= cut {
            left += slope * slope;
            continue;
        }
        rank += 1;
        let share = slope / divisor;
        update
            .iter_mut()
            .zip(&vector)
            .for_each(|(x, v)| *x += share * v);
    }
    let size = norm(gradient);
    let mut report = SolveReport {
        route: SolveRoute::Eigen,
        rank,
        residual: if size > 0.0 { left.sqrt() / size } else { 0.0 },
        ..solved.clone()
    };
    report.left_out = gradient.len() - rank;
    Ok((update, report))
}
