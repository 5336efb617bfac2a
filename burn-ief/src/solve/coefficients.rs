//! An update as a combination of rows: which rows take part, and the trust region that bounds it.

use super::damped::SolveReport;
use crate::linalg::Symmetric;

/// The factor that brings `½ curvature` down to `radius`, 1 if it is inside already.
pub(crate) fn trust_region_factor(curvature: f64, radius: f64) -> f64 {
    if curvature > 2.0 * radius {
        (2.0 * radius / curvature).sqrt()
    } else {
        1.0
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_outside_the_region_are_scaled_to_its_edge() {
        assert_eq!(trust_region_factor(2.0, 2.0), 1.0);
        let factor = trust_region_factor(2.0, 0.25);
        assert!((factor - 0.5).abs() < 1e-15);
        assert!((0.5 * 2.0 * factor * factor - 0.25).abs() < 1e-15);
        assert_eq!(trust_region_factor(0.0, 0.25), 1.0);
    }
}
