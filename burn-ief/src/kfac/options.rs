//! What the members of the family differ in.

use crate::error::Error;
use crate::update::Amount;

/// Which errors the second factor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Estimate {
    /// Labels drawn from the model: K-FAC, an estimate of the Fisher matrix.
    Sampled,
    /// True labels: eKFAC, an estimate of the empirical Fisher matrix.
    Empirical,
    /// True labels, errors of sample n times `s_n^{-1/2}`: ieKFAC (eq. 43), an estimate of the
    /// improved empirical Fisher matrix. Samples with s_n = 0 contribute nothing.
    Improved,
}

/// How a layer that is applied at T positions of a sample (or used several times) is approximated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Sharing {
    /// Every position counts as an example of its own, `A = mean over n, t of aᵀa` and
    /// `B = mean over n of Σ_t eᵀe`: the usual choice for sequences and convolutions. Padded
    /// positions count in A.
    #[default]
    Expand,
    /// The positions of a sample are put together first, a averaged and e summed:
    /// for layers whose output is averaged over the positions.
    Reduce,
}

/// How the damping is shared between the two factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Split {
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
/// use burn_ief::kfac::{KroneckerDamping, Split};
///
/// let paper = KroneckerDamping::absolute(1e-3).split(Split::Even);
/// assert_eq!(KroneckerDamping::default(), KroneckerDamping::relative(1e-3));
/// assert!(KroneckerDamping::relative(f64::NAN).validate().is_err());
/// # let _ = paper;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct KroneckerDamping {
    /// λ, absolute or relative to the mean diagonal of A ⊗ B (of a diagonal block: its mean).
    pub amount: Amount,
    /// How it is shared.
    pub split: Split,
}

impl Default for KroneckerDamping {
    fn default() -> Self {
        Self::relative(1e-3)
    }
}

impl KroneckerDamping {
    /// λ itself.
    pub fn absolute(lambda: f64) -> Self {
        Self {
            amount: Amount::Absolute(lambda),
            split: Split::default(),
        }
    }

    /// A fraction of the mean diagonal of each layer's A ⊗ B.
    pub fn relative(fraction: f64) -> Self {
        Self {
            amount: Amount::Relative(fraction),
            split: Split::default(),
        }
    }

    /// Share it this way.
    pub fn split(self, split: Split) -> Self {
        Self { split, ..self }
    }

    /// Check the amount.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is negative, NaN or infinite.
    pub fn validate(&self) -> Result<(), Error> {
        let (Amount::Absolute(value) | Amount::Relative(value)) = self.amount;
        match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(Error::Config {
                field: "damping",
                value: value.to_string(),
                expected: "a finite number of at least 0",
            }),
        }
    }

    /// What is added to the diagonals of A and B, whose means are given.
    pub(super) fn shifts(&self, mean_a: f64, mean_b: f64) -> [f64; 2] {
        let lambda = match self.amount {
            Amount::Absolute(lambda) => lambda,
            Amount::Relative(fraction) => fraction * mean_a * mean_b,
        };
        let root = lambda.sqrt();
        let pi = (mean_a / mean_b).sqrt();
        match self.split {
            Split::Pi if pi.is_finite() && pi > 0.0 => [pi * root, root / pi],
            _ => [root, root],
        }
    }
}

/// What becomes of parameters without a Kronecker form: norms, embeddings, parameters that are
/// broadcast over the batch, layers wider than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Others {
    /// `Δ = g / (d + λ)` with d the diagonal of the same curvature matrix (mean squares of
    /// per-sample gradients; of per-position ones for look-ups and wide layers).
    #[default]
    Diagonal,
    /// The plain mean gradient.
    Gradient,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_damping_is_shared_by_size() {
        let relative = KroneckerDamping::relative(1e-2);
        let [a, b] = relative.shifts(4.0, 9.0);
        assert!((a - 0.4).abs() < 1e-15 && (b - 0.9).abs() < 1e-15);
        assert_eq!(relative.split(Split::Even).shifts(4.0, 9.0), [0.6; 2]);
        let absolute = KroneckerDamping::absolute(4.0);
        assert_eq!(absolute.shifts(16.0, 1.0), [8.0, 0.5]);
        // A layer without errors has no size to go by.
        assert_eq!(absolute.shifts(16.0, 0.0), [2.0; 2]);
        assert_eq!(relative.shifts(16.0, 0.0), [0.0; 2]);
    }
}
