//! A bound on how far one step may go.

use serde::{Deserialize, Serialize};

/// A bound on ½ ΔᵀF̃Δ, the quadratic form of an update Δ in the curvature matrix F̃ of its rule, for a step size of 1.
/// An update outside is scaled down to the edge (the KL clip of K-FAC).
///
/// ```
/// use burn_ief::solve::TrustRegion;
///
/// let bound = TrustRegion::per_sample(0.015);
/// assert_eq!(bound.radius(32, None), 0.48);
/// // Losses whose gradients at the outputs are larger than those of a classifier's get more room.
/// assert_eq!(bound.radius(2, Some(&[50.0, 150.0])), 3.0);
/// assert_eq!(TrustRegion::total(0.5).radius(32, None), 0.5);
/// assert_eq!(TrustRegion::Unbounded.radius(32, None), f64::INFINITY);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrustRegion {
    /// No bound.
    Unbounded,
    /// For the whole batch, in sum form.
    Total(f64),
    /// For each sample, on average over the batch.
    PerSample(f64),
}

impl TrustRegion {
    /// Bound the form of the whole batch, in sum form.
    pub fn total(radius: f64) -> Self {
        Self::Total(radius)
    }

    /// Bound the mean of the form over the samples, so that one value fits every size of batch.
    ///
    /// With iEF, which measures s (the squared norm of a loss's gradient at the outputs), the bound is multiplied with
    /// the mean of s where that is above 1. For one label per sample s is hardly ever above 1, and the bound is as
    /// given. Sums over many tokens and squared errors of large numbers have an s far above 1: with this factor, scaling
    /// the targets or the length of the texts does not change by which factor a step is shortened.
    pub fn per_sample(radius: f64) -> Self {
        Self::PerSample(radius)
    }

    /// The number that was given, infinity for no bound.
    pub fn value(&self) -> f64 {
        match *self {
            Self::Unbounded => f64::INFINITY,
            Self::Total(radius) | Self::PerSample(radius) => radius,
        }
    }

    /// The bound on ½ ΔᵀF̃Δ, in sum form, for a batch of `samples` with these s where they were measured.
    pub fn radius(&self, samples: usize, norms: Option<&[f64]>) -> f64 {
        match *self {
            Self::Unbounded => f64::INFINITY,
            Self::Total(radius) => radius,
            Self::PerSample(per_sample) => {
                let sum = norms.map_or(0.0, |norms| norms.iter().sum());
                // M times the mean of s, or M.
                per_sample * f64::max(samples as f64, sum)
            }
        }
    }
}

impl From<f64> for TrustRegion {
    /// [`total`](Self::total).
    fn from(radius: f64) -> Self {
        Self::total(radius)
    }
}

/// The factor that brings `½ curvature` down to `radius`, 1 if it is inside already.
pub(crate) fn trust_region_factor(curvature: f64, radius: f64) -> f64 {
    if curvature > 2.0 * radius {
        (2.0 * radius / curvature).sqrt()
    } else {
        1.0
    }
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

    #[test]
    fn every_form_reads_back() {
        for (bound, text) in [
            (TrustRegion::Unbounded, "\"unbounded\""),
            (TrustRegion::total(0.5), r#"{"total":0.5}"#),
            (TrustRegion::per_sample(0.015), r#"{"per_sample":0.015}"#),
        ] {
            assert_eq!(serde_json::to_string(&bound).unwrap(), text);
            assert_eq!(serde_json::from_str::<TrustRegion>(text).unwrap(), bound);
        }
    }
}
