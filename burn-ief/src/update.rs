//! The update rules: EF, iEF, SF and the exact natural gradient.
//!
//! All work on the M x M Gram matrix of per-sample gradients, on the host in f64, and return the
//! coefficients c of `Δ = Jᵀc`. Everything is in sum form, and Δ is the *positive* preconditioned
//! gradient: a step is `θ ← θ − η Δ`. Source: Wu, Yu, Zhang, Woodland, "An Improved Empirical
//! Fisher Approximation for Natural Gradient Descent", NeurIPS 2024, arXiv 2406.06420.
//!
//! # Momentum in the solve
//!
//! Every rule here minimises a quadratic model over Δ with a penalty that keeps Δ short:
//!
//! | rule | minimises over Δ |
//! | --- | --- |
//! | EF | `‖JΔ − 1‖² + λ‖Δ‖²` |
//! | iEF, [`On::Fisher`] | `Σ_n ((JΔ)_n − s_n)²/s_n + λ‖Δ‖²` |
//! | iEF, [`On::Gram`] | `‖JΔ − s‖² + λ‖Δ‖²` |
//! | SF, exact natural gradient | `‖ĴΔ‖² − 2gᵀΔ + λ‖Δ‖²` |
//!
//! A batch of M samples says nothing about the directions outside the span of its M rows, and there
//! the penalty sets Δ to zero. SPRING (Goldshlager, Abrahamsen, Lin, "A Kaczmarz-inspired approach
//! to accelerate the optimization of neural network wavefunctions", 2024) measures the penalty
//! from the previous update instead: `λ‖Δ − μΔ_prev‖²` with 0 ≤ μ < 1. Write `Δ = μΔ_prev + δ`. The
//! data term of δ is that of the rule with `JΔ` moved by `μJΔ_prev`, so with D the diagonal of the
//! weights (1, or 1/s_n), r the right-hand side (1 or s) and `r' = r − μJΔ_prev`,
//!
//! `(JᵀDJ + λI) δ = JᵀD r'`, so `δ = Jᵀ (K + λD⁻¹)⁻¹ r'`
//!
//! by `JᵀD (JJᵀ + λD⁻¹) = (JᵀDJ + λI) Jᵀ`: the same M x M system, with `s − μJΔ_prev` in the place
//! of s (EF: 1 in the place of s). On the Fisher matrix D⁻¹ is diag(s), and the scaled system has
//! the right-hand side `√s_n − μ(JΔ_prev)_n/√s_n`, where `J_n/√s_n` stays bounded as a sample gets
//! fitted. For SF
//! and the exact natural gradient `δ = (ĴᵀĴ + λI)⁻¹ (g − μĴᵀĴΔ_prev)`. Where a batch asks again and
//! again for one and the same thing, Δ tends to the plain update with damping `(1 − μ)λ`; what
//! other batches asked for fades with μ per step instead of at once.
//!
//! [`ef_from`], [`ief_from`], [`sf_from`] solve this for any start Δ₀; the `solve_momentum` of
//! [`IefConfig`](crate::IefConfig) and the others keeps Δ_prev between steps.

mod damping;
mod empirical;
mod range;
mod refine;
mod report;
mod sampled;
mod solve;

pub use damping::{Amount, Damping, On};
pub use empirical::{ef, ef_from, ief, ief_from};
pub use report::{SolveReport, SolveRoute};
pub use sampled::{sf, sf_from, sf_small, sf_small_from};

use crate::error::Error;

/// An update as a combination of per-sample gradients, `Δ = Jᵀc` (with a start, `Δ = Δ₀ + Jᵀc`).
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
    /// region; a start Δ₀ has to be multiplied by it as well.
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

fn check_start(start: &[f64], rows: usize) -> Result<(), Error> {
    match start.len() == rows {
        true => Ok(()),
        false => Err(Error::Size {
            what: "products of the rows with the start",
            expected: rows,
            found: start.len(),
        }),
    }
}

pub(crate) fn clip_factor(curvature: f64, radius: f64) -> f64 {
    match curvature > 2.0 * radius {
        true => (2.0 * radius / curvature).sqrt(),
        false => 1.0,
    }
}
