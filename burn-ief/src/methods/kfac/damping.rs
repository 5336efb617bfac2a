//! Damping of the Kronecker factors.

use crate::error::Error;
use crate::names::named_variants;
use crate::solve::DampingAmount;

/// How the damping is shared between the two factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DampingSplit {
    /// √λ on both, as in the reference vectors of the paper's authors.
    Even,
    /// `π √λ` on A and `√λ / π` on B, with π² the ratio of their mean diagonals: both are damped by
    /// the same share of their size.
    #[default]
    Pi,
}

/// Damping of the Kronecker factors, `Δ = (A + d_A I)⁻¹ G (B + d_B I)⁻¹` with `d_A d_B = λ`.
///
/// Factors and gradient are **means** over the batch, so that batches of different sizes can be
/// averaged; λ is on that scale. The undamped update is the same in sum form, and λ in sum form is
/// M times the λ here.
///
/// ```
/// use burn_ief::methods::kfac::{FactorDamping, DampingSplit};
///
/// let paper = FactorDamping::absolute(1e-3).split(DampingSplit::Even);
/// assert_eq!(paper.split, DampingSplit::Even);
/// assert_eq!(FactorDamping::default(), FactorDamping::relative(1.0));
/// assert!(FactorDamping::relative(f64::NAN).validate().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct FactorDamping {
    /// λ, absolute or relative to the mean diagonal of A ⊗ B (of a diagonal block: its mean).
    pub amount: DampingAmount,
    /// How it is shared.
    pub split: DampingSplit,
}

impl Default for FactorDamping {
    fn default() -> Self {
        Self::relative(1.0)
    }
}

impl FactorDamping {
    /// λ itself.
    pub fn absolute(lambda: f64) -> Self {
        Self {
            amount: DampingAmount::Absolute(lambda),
            split: DampingSplit::default(),
        }
    }

    /// A fraction of the mean diagonal of each layer's A ⊗ B.
    pub fn relative(fraction: f64) -> Self {
        Self {
            amount: DampingAmount::Relative(fraction),
            split: DampingSplit::default(),
        }
    }

    /// Share it this way.
    pub fn split(self, split: DampingSplit) -> Self {
        Self { split, ..self }
    }

    /// Check the amount.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is negative, NaN or infinite.
    pub fn validate(&self) -> Result<(), Error> {
        self.amount.validate()
    }

    /// What is added to the diagonals of A and B, whose means are given.
    pub(super) fn shifts(&self, mean_a: f64, mean_b: f64) -> [f64; 2] {
        let lambda = match self.amount {
            DampingAmount::Absolute(lambda) => lambda,
            DampingAmount::Relative(fraction) => fraction * mean_a * mean_b,
        };
        let root = lambda.sqrt();
        let pi = (mean_a / mean_b).sqrt();
        match self.split {
            DampingSplit::Pi if pi.is_finite() && pi > 0.0 => [pi * root, root / pi],
            _ => [root, root],
        }
    }
}

named_variants!(DampingSplit, "damping split", Even = "even", Pi = "pi");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_damping_is_shared_by_size() {
        let relative = FactorDamping::relative(1e-2);
        let [a, b] = relative.shifts(4.0, 9.0);
        assert!((a - 0.4).abs() < 1e-15 && (b - 0.9).abs() < 1e-15);
        assert_eq!(
            relative.split(DampingSplit::Even).shifts(4.0, 9.0),
            [0.6; 2]
        );
        let absolute = FactorDamping::absolute(4.0);
        assert_eq!(absolute.shifts(16.0, 1.0), [8.0, 0.5]);
        // A layer without errors has no size to go by.
        assert_eq!(absolute.shifts(16.0, 0.0), [2.0; 2]);
        assert_eq!(relative.shifts(16.0, 0.0), [0.0; 2]);
    }
}
