//! What a solve gives: an update as a combination of rows or by itself, the report of it, and which rows
//! take part.

use std::fmt;

use crate::error::Error;
use crate::linalg::Symmetric;
use crate::solve::trust_region::trust_region_factor;

/// An update as a combination of per-sample gradients, `Δ = Jᵀc`.
///
/// With momentum in the solve it starts from `Δ₀`, and `Δ = Δ₀ + Jᵀc`.
///
/// ```
/// use burn_ief::methods::{Ief, System, UpdateRule};
/// use burn_ief::solve::{Damping, Symmetric};
///
/// let gram = Symmetric::from_fn(2, |i, j| if i == j { 4.0 } else { 0.0 });
/// let system = System::from_gram(gram, 2)
///     .with_output_norms(vec![2.0, 1.0])
///     .with_damping(Damping::absolute(0.0));
/// let mut update = Ief::default().solve(&system)?.into_coefficients()?;
/// assert!((update.decrease[0] - 2.0).abs() < 1e-12);
/// // ½ ΔᵀF̃Δ = ½ (2²/2 + 1²/1) = 1.5.
/// let factor = update.clip(0.375);
/// assert!((factor - 0.5).abs() < 1e-12 && (update.decrease[0] - 1.0).abs() < 1e-12);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Coefficients {
    /// c, one entry per row.
    pub values: Vec<f64>,
    /// JΔ: to first order, the decrease of each sample's loss for a step size of 1.
    pub decrease: Vec<f64>,
    /// ΔᵀF̃Δ in the curvature matrix F̃ of the rule (undamped, sum form).
    pub curvature: f64,
    /// How the system was solved.
    pub report: SolveReport,
}

impl Coefficients {
    /// Coefficients c with the decrease JΔ and the curvature ΔᵀF̃Δ that belong to them.
    pub fn new(values: Vec<f64>, decrease: Vec<f64>, curvature: f64, report: SolveReport) -> Self {
        Self {
            values,
            decrease,
            curvature,
            report,
        }
    }

    /// Scale the update so that ½ ΔᵀF̃Δ is at most `radius` (the KL clip of K-FAC), for a step size
    /// of 1.
    ///
    /// With a step size η multiply the radius by 1/η² beforehand. Returns the factor, 1 inside the
    /// region; a start Δ₀ has to be multiplied by it as well.
    pub fn clip(&mut self, radius: f64) -> f64 {
        let factor = trust_region_factor(self.curvature, radius);
        self.values.iter_mut().for_each(|c| *c *= factor);
        self.decrease.iter_mut().for_each(|d| *d *= factor);
        self.curvature *= factor * factor;
        self.report.scale *= factor;
        factor
    }
}

/// What a rule returns.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Solution {
    /// A combination of the rows of the system.
    Rows(Coefficients),
    /// The update itself, one entry per parameter entry, where there are fewer of those than rows.
    Parameters {
        /// Δ (with a start, Δ − Δ₀), flattened in the order of the Jacobian's columns.
        update: Vec<f64>,
        /// How the system was solved.
        report: SolveReport,
    },
}

impl Solution {
    /// How the system was solved.
    pub fn report(&self) -> &SolveReport {
        match self {
            Self::Rows(coefficients) => &coefficients.report,
            Self::Parameters { report, .. } => report,
        }
    }

    /// The combination of the rows.
    ///
    /// # Errors
    ///
    /// [`Error::NoCoefficients`] if the rule solved for the parameters instead.
    pub fn into_coefficients(self) -> Result<Coefficients, Error> {
        match self {
            Self::Rows(coefficients) => Ok(coefficients),
            Self::Parameters { .. } => Err(Error::NoCoefficients),
        }
    }
}

impl From<Coefficients> for Solution {
    fn from(coefficients: Coefficients) -> Self {
        Self::Rows(coefficients)
    }
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

/// The rows that take part in a solve.
///
/// Rows of zero length are left out, because they have no equation, and on request the shorter of
/// any two rows that are nearly parallel.
///
/// ```
/// use burn_ief::solve::{RowSelection, Symmetric};
///
/// let gram = Symmetric::from_fn(3, |i, j| if i == j { i as f64 } else { 0.0 });
/// let rows = RowSelection::new(&gram, |_| true, None);
/// assert_eq!((rows.kept.as_slice(), rows.zero.as_slice()), (&[1, 2][..], &[0][..]));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RowSelection {
    /// Rows that take part.
    pub kept: Vec<usize>,
    /// Rows without an equation.
    pub zero: Vec<usize>,
    /// Rows that the cosine filter left out.
    pub dropped: Vec<usize>,
}

impl RowSelection {
    /// Select the rows of positive length for which `counts` holds.
    ///
    /// With `cosine`, the shorter of any two rows with |cos| above it is left out, as the original
    /// implementation of iEF does with 0.99.
    pub fn new(gram: &Symmetric, counts: impl Fn(usize) -> bool, cosine: Option<f64>) -> Self {
        let all = 0..gram.size();
        let (nonzero, zero): (Vec<_>, Vec<_>) =
            all.partition(|&n| gram.get(n, n) > 0.0 && counts(n));
        let (kept, dropped) = match cosine {
            Some(limit) => filter_parallel(gram, nonzero, limit),
            None => (nonzero, Vec::new()),
        };
        Self {
            kept,
            zero,
            dropped,
        }
    }

    /// The entries of `values` that belong to the kept rows.
    pub fn pick(&self, values: &[f64]) -> Vec<f64> {
        self.kept.iter().map(|&n| values[n]).collect()
    }

    /// Coefficients of all rows from those of the kept rows.
    ///
    /// `start` is JΔ₀, zeros without momentum in the solve. The curvature is left at 0.
    pub fn coefficients(
        &self,
        gram: &Symmetric,
        kept: &[f64],
        start: &[f64],
        report: SolveReport,
    ) -> Coefficients {
        let mut values = vec![0.0; gram.size()];
        for (&n, &c) in self.kept.iter().zip(kept) {
            values[n] = c;
        }
        let mut decrease = gram.mul(&values);
        decrease.iter_mut().zip(start).for_each(|(d, s)| *d += s);
        let report = SolveReport {
            zero_rows: self.zero.clone(),
            dropped: self.dropped.clone(),
            ..report
        };
        Coefficients::new(values, decrease, 0.0, report)
    }
}

/// Keep the longest row of each group of nearly parallel ones.
fn filter_parallel(gram: &Symmetric, mut rows: Vec<usize>, limit: f64) -> (Vec<usize>, Vec<usize>) {
    rows.sort_by(|&a, &b| gram.get(b, b).total_cmp(&gram.get(a, a)).then(a.cmp(&b)));
    let mut kept: Vec<usize> = Vec::new();
    let mut dropped = Vec::new();
    for n in rows {
        let parallel = |&m: &usize| {
            let cosine = gram.get(n, m) / (gram.get(n, n) * gram.get(m, m)).sqrt();
            cosine.abs() > limit
        };
        if kept.iter().any(parallel) {
            dropped.push(n);
        } else {
            kept.push(n);
        }
    }
    kept.sort_unstable();
    dropped.sort_unstable();
    (kept, dropped)
}
