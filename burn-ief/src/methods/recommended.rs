//! What a method takes where its options say nothing.

use super::metric::UpdateMetric;
use crate::solve::{Damping, TrustRegion};

/// What an exact method takes for the fields of [`SolveOptions`](super::SolveOptions) and
/// [`StepOptions`](super::StepOptions) that are `None`.
///
/// ```
/// use burn_ief::methods::Recommended;
///
/// let bare = Recommended::default();
/// assert_eq!((bare.momentum, bare.norm), (0.0, None));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Recommended {
    /// Damping, in sum form.
    pub damping: Damping,
    /// Bound on ½ ΔᵀF̃Δ.
    pub trust_region: TrustRegion,
    /// Momentum in the solve.
    pub momentum: f64,
    /// Which update is the smallest.
    pub metric: UpdateMetric,
    /// Euclidean norm of an update.
    pub norm: Option<f64>,
}

impl Default for Recommended {
    /// A damping of 1e-3, relative, and nothing else.
    fn default() -> Self {
        Self {
            damping: Damping::default(),
            trust_region: TrustRegion::Unbounded,
            momentum: 0.0,
            metric: UpdateMetric::Identity,
            norm: None,
        }
    }
}
