//! Settings of exact methods.

use burn_ief::methods::{AnyConfig, StepOptions};
use burn_ief::solve::Damping;

/// An exact method with this damping and momentum in the solve, not normalised.
pub fn exact(config: impl Into<AnyConfig>, damping: Damping, momentum: f64) -> AnyConfig {
    let mut config = config.into();
    *config.step_mut() = StepOptions::new().with_normalize(Some(0.0));
    let solve = config.solve_mut().unwrap();
    (solve.damping, solve.momentum) = (damping, Some(momentum));
    config
}
