//! An update as a combination of rows.

use super::report::SolveReport;
use super::trust_region::trust_region_factor;

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
/// assert_eq!((update.values.as_slice(), update.decrease.as_slice()), (&[0.5, 0.25][..], &[2.0, 1.0][..]));
/// // ½ ΔᵀF̃Δ = ½ (2²/2 + 1²/1) = 1.5.
/// let factor = update.clip(0.375);
/// assert_eq!((factor, update.decrease[0]), (0.5, 1.0));
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
