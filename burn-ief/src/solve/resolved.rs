//! Damped solves of systems whose rows have only the precision of the device.
//!
//! The coefficients c of an update are exact to f64, but `Jᵀc` is formed from rows that were rounded
//! to f32 (or another device type). If a batch has more samples than J has rank, the target has a
//! part on which K vanishes. Its coefficients are of size 1/λ, and `Jᵀ` takes them to zero only up to
//! the rounding of the rows: at a small λ the rest is larger than the update. So directions of K at
//! the level of rounding are left out where that matters.

use super::damped::{SolveReport, SolveRoute, solve_damped};
use crate::error::Error;
use crate::linalg::{Eigen, Symmetric, dot, norm};

/// Largest estimated error of `Jᵀc`, as a share of its length, that needs no care.
const TOLERATED: f64 = 4e-3;

/// What rounding may do to `Jᵀc`: its length, and the length that the terms `c_n J_n` would have if
/// they did not cancel.
pub(crate) struct Cancellation {
    /// ‖Jᵀc‖.
    pub length: f64,
    /// `√(Σ c_n² ‖J_n‖²)`.
    pub terms: f64,
}

impl Cancellation {
    /// Of the coefficients of all rows of a system.
    pub fn new(gram: &Symmetric, c: &[f64]) -> Self {
        let squares = c.iter().enumerate().map(|(n, c)| c * c * gram.get(n, n));
        Self {
            length: dot(c, &gram.mul(c)).max(0.0).sqrt(),
            terms: squares.sum::<f64>().sqrt(),
        }
    }

    /// Whether rows with this machine epsilon give `Jᵀc` too few digits.
    pub fn loses_digits(&self, epsilon: f64) -> bool {
        epsilon * self.terms > TOLERATED * self.length
    }
}

/// Eigenvalues of a matrix with this trace that are rounding of its rows, or of the matrix itself.
pub(crate) fn rounding_level(eigen: &Eigen, trace: f64, epsilon: f64) -> f64 {
    eigen.threshold().max(4.0 * epsilon * epsilon * trace)
}

/// [`solve_damped`] for the inner products A of rows with this machine epsilon.
///
/// Where rounding of the rows would be visible in the update, directions of A at the level of
/// rounding get no coefficient; the report counts them.
pub(crate) fn solve_resolved(
    a: &Symmetric,
    b: &[f64],
    lambda: f64,
    floor: f64,
    epsilon: f64,
) -> Result<(Vec<f64>, SolveReport), Error> {
    let (x, report) = solve_damped(a, b, lambda, floor)?;
    if !Cancellation::new(a, &x).loses_digits(epsilon) {
        return Ok((x, report));
    }
    let eigen = Eigen::new(a)?;
    let cut = rounding_level(&eigen, a.diagonal().iter().sum(), epsilon);
    let kept = |value: f64| value > cut;
    let x = eigen.apply(b, |v| if kept(v) { 1.0 / (v + lambda) } else { 0.0 });
    let inside = eigen.apply(b, |v| f64::from(u8::from(kept(v))));
    let image = a.mul(&x);
    let left = inside.iter().zip(image).zip(&x);
    let left: Vec<f64> = left.map(|((b, image), x)| b - image - lambda * x).collect();
    let outside: Vec<f64> = b
        .iter()
        .zip(&inside)
        .map(|(b, inside)| b - inside)
        .collect();

    let values = eigen.values();
    let rank = values.iter().filter(|&&value| kept(value)).count();
    let smallest = values.iter().copied().find(|&value| kept(value));
    let (smallest, largest) = (
        smallest.unwrap_or(0.0),
        values.last().copied().unwrap_or(0.0),
    );
    let condition = if rank == 0 {
        1.0
    } else {
        (largest + lambda) / (smallest + lambda)
    };
    let size = norm(b);
    let share = |part: &[f64]| if size > 0.0 { norm(part) / size } else { 0.0 };
    let mut report = SolveReport::new(
        lambda,
        floor,
        SolveRoute::Eigen,
        condition,
        rank,
        share(&left),
    );
    report.left_out = values.len() - rank;
    report.share_left_out = share(&outside);
    Ok((x, report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rows `[M][P]` in general position.
    fn rows(samples: usize, width: usize) -> Vec<Vec<f64>> {
        let entry = |n: usize, p: usize| ((n * n + 5) as f64 * (p as f64 + 1.3)).sin();
        (0..samples)
            .map(|n| (0..width).map(|p| entry(n, p)).collect())
            .collect()
    }

    /// `Jᵀc` with every term rounded to f32, as a device forms it.
    fn combine_f32(rows: &[Vec<f64>], c: &[f64]) -> Vec<f64> {
        let mut sum = vec![0f32; rows[0].len()];
        for (row, c) in rows.iter().zip(c) {
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += *c as f32 * *x as f32;
            }
        }
        sum.into_iter().map(f64::from).collect()
    }

    proptest! {
        /// M samples of P parameters, against the P x P system in f64.
        #[test]
        fn every_damping_gives_the_update_of_the_parameters(
            samples in 6usize..40,
            width in 1usize..6,
            exponent in -15i32..0,
            undamped in any::<bool>(),
        ) {
            let lambda = if undamped { 0.0 } else { 10f64.powi(exponent) };
            let rows = rows(samples, width);
            let gram = Symmetric::from_fn(samples, |i, j| dot(&rows[i], &rows[j]));
            let lambda = lambda * gram.mean_diagonal();
            let epsilon = f64::from(f32::EPSILON);
            let ones = vec![1.0; samples];
            let (c, report) = solve_resolved(&gram, &ones, lambda, 0.0, epsilon).unwrap();
            let fisher =
                Symmetric::from_fn(width, |p, q| rows.iter().map(|r| r[p] * r[q]).sum());
            let gradient: Vec<f64> =
                (0..width).map(|p| rows.iter().map(|r| r[p]).sum()).collect();
            let (exact, _) = solve_damped(&fisher, &gradient, lambda, 0.0).unwrap();
            let update = combine_f32(&rows, &c);
            let error: Vec<f64> = update.iter().zip(&exact).map(|(a, b)| a - b).collect();
            prop_assert!(
                norm(&error) < 1e-2 * norm(&exact),
                "{} of {}, {report}", norm(&error), norm(&exact)
            );
            // What is left out is named.
            prop_assert!(report.left_out == 0 || report.left_out >= samples - width);
        }
    }
}
