//! Damping: how much, on what; and damped solves of systems whose rows have only the precision of the
//! device.
//!
//! The coefficients c of an update are exact to f64, but `Jᵀc` is formed from rows that were rounded
//! to f32 (or another device type). If a batch has more samples than J has rank, the target has a
//! part on which K vanishes. Its coefficients are of size 1/λ, and `Jᵀ` takes them to zero only up to
//! the rounding of the rows: at a small λ the rest is larger than the update. So directions of K at
//! the level of rounding are left out where that matters.

use super::coefficients::{SolveReport, SolveRoute};
use crate::error::Error;
use crate::linalg::{Cholesky, Eigen, Symmetric, dot, norm};
use crate::names::named_variants;

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DampingAmount {
    /// λ itself, in sum form.
    Absolute(f64),
    /// This times the mean diagonal of the matrix that is damped: carries over between models,
    /// tasks and batch sizes.
    Relative(f64),
}

impl DampingAmount {
    /// The number, whatever its unit.
    pub fn value(self) -> f64 {
        let (Self::Absolute(value) | Self::Relative(value)) = self;
        value
    }

    /// The number, whatever its unit, to change it.
    pub fn value_mut(&mut self) -> &mut f64 {
        let (Self::Absolute(value) | Self::Relative(value)) = self;
        value
    }

    /// Check the number.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is negative, NaN or infinite.
    pub fn validate(self) -> Result<(), Error> {
        let value = self.value();
        if value.is_finite() && value >= 0.0 {
            Ok(())
        } else {
            Err(Error::config(
                "damping",
                value,
                "a finite number of at least 0",
            ))
        }
    }
}

/// Which matrix λ is added to, for iEF. The two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DampedMatrix {
    /// The improved empirical Fisher matrix `F̃ = Jᵀ diag(s)⁻¹ J`:
    /// `Δ = (F̃ + λI)⁻¹ g = Jᵀ (K + λ diag(s))⁻¹ s` (eqs. 14, 21).
    ///
    /// The rows `J_n/√s_n` do not change with the scale of the loss, nor as a sample gets fitted,
    /// so one λ holds for every reduction and through training, and the system is far better
    /// conditioned.
    #[default]
    Fisher,
    /// The Gram matrix of per-sample gradients: `Δ = Jᵀ (K + λI)⁻¹ s` (eq. 8), as in the paper's
    /// sweeps over λ.
    Gram,
}

/// The floor in multiples of √M ε times the mean diagonal: the rounding errors of M² entries are a matrix
/// with a norm of about √M of them (16 at least). With it the update is exact to 1 % (`tests/robust/small_damping.rs`,
/// also for samples that are nearly alike); with a tenth of it, to 10 %.
const FLOOR: f64 = 128.0;

/// Damping of an update.
///
/// The default is relative, 1e-3, on the Fisher matrix: on MiniLM + LoRA, TREC-6, the training loss
/// is flat from 1e-6 to 1e-3 (0.204) and slightly higher at 1e-1 (0.218); 1e-3 is the largest
/// of these without a cost.
///
/// ```
/// use burn_ief::solve::{DampedMatrix, Damping};
///
/// let paper = Damping::absolute(1e-12).on(DampedMatrix::Gram);
/// assert_eq!(paper.on, DampedMatrix::Gram);
/// assert!(Damping::relative(-1.0).validate().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Damping {
    /// How much.
    pub amount: DampingAmount,
    /// On what; EF, SF and the exact natural gradient have only one choice and ignore this.
    pub on: DampedMatrix,
    /// Whether the precision of an f32 Gram matrix bounds λ from below, by 128 √M ε₃₂ times the mean
    /// diagonal: the update is then exact to 1 %. Matrices accumulated in f64 have no floor. With
    /// [`GramPrecision::Auto`](crate::jacobian::GramPrecision::Auto) training methods accumulate the
    /// matrix in f64 where the floor would count, if the device supports f64.
    pub floor: bool,
}

impl From<DampingAmount> for Damping {
    fn from(amount: DampingAmount) -> Self {
        Self::new(amount)
    }
}

impl Default for Damping {
    fn default() -> Self {
        Self::relative(1e-3)
    }
}

impl Damping {
    /// λ itself, on the Fisher matrix.
    pub fn absolute(lambda: f64) -> Self {
        Self::new(DampingAmount::Absolute(lambda))
    }

    /// A fraction of the mean diagonal of the damped matrix, on the Fisher matrix.
    pub fn relative(fraction: f64) -> Self {
        Self::new(DampingAmount::Relative(fraction))
    }

    fn new(amount: DampingAmount) -> Self {
        Self {
            amount,
            on: DampedMatrix::default(),
            floor: true,
        }
    }

    /// Damp this matrix.
    pub fn on(self, on: DampedMatrix) -> Self {
        Self { on, ..self }
    }

    /// Take λ as it is, below the precision of the Gram matrix too.
    pub fn without_floor(self) -> Self {
        Self {
            floor: false,
            ..self
        }
    }

    /// Check the amount.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is negative, NaN or infinite.
    pub fn validate(&self) -> Result<(), Error> {
        self.amount.validate()
    }

    /// λ and the floor under it, for a matrix with this mean diagonal.
    ///
    /// `epsilon` is the machine epsilon of the precision in which the matrix was accumulated.
    pub fn resolve(&self, mean_diagonal: f64, size: usize, epsilon: f64) -> (f64, f64) {
        let asked = match self.amount {
            DampingAmount::Absolute(lambda) => lambda,
            DampingAmount::Relative(fraction) => fraction * mean_diagonal,
        };
        let floor = if self.floor && epsilon > f64::EPSILON {
            FLOOR * (size.max(16) as f64).sqrt() * epsilon * mean_diagonal
        } else {
            0.0
        };
        (asked.max(floor), floor)
    }
}

named_variants!(
    DampedMatrix,
    "damped matrix",
    Fisher = "fisher",
    Gram = "gram"
);

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
    let condition = if largest > 0.0 {
        largest / smallest
    } else {
        1.0
    };
    let report = report(SolveRoute::Eigen, condition, rank, &x);
    Ok((x, report))
}

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

    /// Whether the terms are at most `largest`, and so not NaN.
    pub fn fits(&self, largest: f64) -> bool {
        self.terms <= largest
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
