//! Which rows take part in a solve.

use super::coefficients::Coefficients;
use super::report::SolveReport;
use crate::linalg::Symmetric;

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
