//! The update rules: EF, iEF, SF and the exact natural gradient.
//!
//! All work on the M x M Gram matrix of per-sample gradients, on the host in f64, and return the
//! coefficients c of `Δ = Jᵀc`. Everything is in sum form, and Δ is the *positive* preconditioned
//! gradient: a step is `θ ← θ − η Δ`. Source: Wu, Yu, Zhang, Woodland, "An Improved Empirical
//! Fisher Approximation for Natural Gradient Descent", NeurIPS 2024, arXiv 2406.06420.

mod damping;
mod empirical;
mod range;
mod refine;
mod report;
mod sampled;
mod solve;

pub use damping::{Amount, Damping, On};
pub use empirical::{ef, ief};
pub use report::{SolveReport, SolveRoute};
pub use sampled::{sf, sf_small};

/// An update as a combination of per-sample gradients, `Δ = Jᵀc`.
#[derive(Debug, Clone, PartialEq)]
pub struct Coefficients {
    /// c, one entry per row.
    pub values: Vec<f64>,
    /// JΔ: to first order, how much the loss of each sample falls for η = 1.
    pub decrease: Vec<f64>,
    /// ΔᵀF̃Δ in the curvature matrix F̃ of the rule (undamped, sum form).
    pub curvature: f64,
    /// What the solve did.
    pub report: SolveReport,
}

impl Coefficients {
    /// Scale the update so that ½ ΔᵀF̃Δ is at most `radius` (the KL clip of K-FAC), for η = 1.
    ///
    /// With a step size η multiply the radius by 1/η² beforehand. Returns the factor, 1 inside the
    /// region.
    pub fn clip(&mut self, radius: f64) -> f64 {
        let factor = clip_factor(self.curvature, radius);
        self.scale(factor);
        factor
    }

    fn scale(&mut self, factor: f64) {
        self.values.iter_mut().for_each(|c| *c *= factor);
        self.decrease.iter_mut().for_each(|d| *d *= factor);
        self.curvature *= factor * factor;
        self.report.scale *= factor;
    }
}

pub(crate) fn clip_factor(curvature: f64, radius: f64) -> f64 {
    match curvature > 2.0 * radius {
        true => (2.0 * radius / curvature).sqrt(),
        false => 1.0,
    }
}
