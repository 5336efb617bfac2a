//! Damping: how much, on what; the damped solve, and the report of it.

use std::fmt;

use crate::error::Error;
use crate::linalg::{Cholesky, Eigen, Symmetric, norm};
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
    /// Relative residual ‖A x − b‖ / ‖b‖, within the directions that take part.
    pub residual: f64,
    /// Directions of the matrix that got no coefficient, because they are at the level of the
    /// rounding of the rows and would have put rounding into the update. They are those of the
    /// smallest eigenvalues.
    pub left_out: usize,
    /// The length of the target's part in these directions, relative to the length of the target.
    pub share_left_out: f64,
    /// Samples that contribute nothing: their row is zero (or s_n = 0), or they are fitted to the
    /// precision of the outputs.
    pub zero_rows: Vec<usize>,
    /// Samples that the cosine filter left out.
    pub dropped: Vec<usize>,
    /// To first order, the decrease of each sample's loss (sum form) for a step size of 1, before
    /// normalisation. Empty until the update is formed.
    pub decrease: Vec<f64>,
    /// Factor by which the trust region scaled the update; 1 inside the region.
    pub scale: f64,
    /// Whether the drawn labels show no curvature (the model is certain of all of them), so that λ
    /// is the mean square of the true gradients instead of a share of the vanishing curvature.
    pub no_curvature: bool,
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
            left_out: 0,
            share_left_out: 0.0,
            zero_rows: Vec::new(),
            dropped: Vec::new(),
            decrease: Vec::new(),
            scale: 1.0,
            no_curvature: false,
        }
    }

    /// Whether the precision of the Gram matrix bounds λ from below.
    pub fn is_at_floor(&self) -> bool {
        self.floor > 0.0 && self.damping <= self.floor
    }

    /// Whether every sample of the batch contributes nothing: the update is zero (with momentum in
    /// the solve, what momentum leaves of the previous one).
    pub fn is_fitted(&self) -> bool {
        !self.decrease.is_empty() && self.zero_rows.len() == self.decrease.len()
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
            ("directions left out", self.left_out),
            ("zero rows", self.zero_rows.len()),
            ("dropped", self.dropped.len()),
        ] {
            if count > 0 {
                write!(f, ", {count} {name}")?;
            }
        }
        if self.is_fitted() {
            f.write_str(", the batch is fitted")?;
        }
        if self.no_curvature {
            f.write_str(", drawn labels show no curvature: damped by the true gradients")?;
        }
        if self.scale != 1.0 {
            write!(f, ", scaled by {:.3e}", self.scale)?;
        }
        Ok(())
    }
}
