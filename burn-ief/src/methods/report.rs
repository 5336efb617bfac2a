//! What a step did.

use std::fmt;

use super::kfac::FactorReport;
use crate::solve::SolveReport;

/// What a step did, whatever the method.
///
/// ```
/// # use burn::nn::LinearConfig;
/// # use burn::tensor::{Device, Tensor};
/// # use burn_ief::prelude::*;
/// # let device = Device::flex().autodiff();
/// # let model = LinearConfig::new(3, 2).init(&device);
/// let mut optim = EfConfig::new().init(&model);
/// let tape = optim.start();
/// let loss = model.forward_recorded(Tensor::<2>::ones([4, 3], &device)).sum_dim(1).mean();
/// let (_model, report) = optim.step_with_report(0.1, model, tape, loss.backward())?;
/// assert_eq!(report.solve().map(|solve| solve.decrease.len()), Some(4));
/// assert!(report.unused.is_empty() && report.factors.is_none());
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Paths of trainable parameters that no recorded call used: their update is zero.
    pub unused: Vec<String>,
    /// Factor by which the trust region (exact methods) or the KL clip (K-FAC family) and then the
    /// normalisation scaled the update; 1 without them.
    pub scale: f64,
    /// The solves of exact methods: one, or one for each shard if the shards are not joined. Empty
    /// for the K-FAC family.
    pub solves: Vec<SolveReport>,
    /// What the K-FAC family did; `None` for exact methods.
    pub factors: Option<FactorReport>,
}

impl StepReport {
    pub(super) fn of_solves(solves: Vec<SolveReport>, unused: Vec<String>, scale: f64) -> Self {
        Self {
            unused,
            scale,
            solves,
            factors: None,
        }
    }

    pub(super) fn of_factors(factors: FactorReport, unused: Vec<String>) -> Self {
        Self {
            unused,
            scale: factors.scale,
            solves: Vec::new(),
            factors: Some(factors),
        }
    }

    /// The solve of an exact method: the first one, if there is one for each shard.
    pub fn solve(&self) -> Option<&SolveReport> {
        self.solves.first()
    }
}

impl fmt::Display for StepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(factors) = &self.factors {
            write!(f, "decrease {:.3e}", factors.decrease)?;
            if factors.refreshed {
                f.write_str(", inverses refreshed")?;
            }
        }
        for (index, solve) in self.solves.iter().enumerate() {
            write!(f, "{}{solve}", if index == 0 { "" } else { "; " })?;
        }
        if !self.unused.is_empty() {
            write!(f, ", {} unused parameters", self.unused.len())?;
        }
        if self.scale != 1.0 {
            write!(f, ", scaled by {:.3e}", self.scale)?;
        }
        Ok(())
    }
}
