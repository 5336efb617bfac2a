//! Settings of exact methods.

use burn_ief::methods::{AnyConfig, SolveOptions, StepOptions};
use burn_ief::solve::Damping;

/// An exact method with this damping and momentum in the solve, without metric, trust region and normalisation.
pub fn exact(config: impl Into<AnyConfig>, damping: Damping, momentum: f64) -> AnyConfig {
    let mut config = config.into();
    *config.step_mut() = StepOptions::new().with_normalize(Some(0.0));
    *config.solve_mut().unwrap() = SolveOptions::plain(damping).with_momentum(Some(momentum));
    config
}
