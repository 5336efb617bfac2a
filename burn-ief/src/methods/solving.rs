//! How a method solves its systems.

use super::metric::UpdateMetric;
use super::options::SolveOptions;
use super::recommended::Recommended;
use crate::jacobian::GramPrecision;
use crate::solve::{Damping, TrustRegion};

/// How a method solves its systems: its options, and what it recommends for the others.
#[derive(Debug, Clone)]
pub(super) struct Solving {
    pub damping: Damping,
    pub precision: GramPrecision,
    pub trust_region: TrustRegion,
    pub momentum: f64,
    pub metric: UpdateMetric,
}

impl Solving {
    pub fn new(options: &SolveOptions, recommended: &Recommended) -> Self {
        Self {
            damping: options.damping.unwrap_or(recommended.damping),
            precision: options.precision,
            trust_region: options.trust_region.unwrap_or(recommended.trust_region),
            momentum: options.momentum.unwrap_or(recommended.momentum),
            metric: options.metric.unwrap_or(recommended.metric),
        }
    }
}
