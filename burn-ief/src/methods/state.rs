//! What an exact method keeps from step to step.

use burn::module::Module;

use super::metric::MetricState;
use super::options::SolveOptions;
use super::previous::PreviousUpdate;
use crate::params::ParamInfo;

/// The state of an exact method: the previous update, if there is momentum in the solve, and the
/// running means of its metric.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::prelude::*;
///
/// let model = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
/// // Neither momentum in the solve nor a metric.
/// assert_eq!(EfConfig::new().init(&model).state().num_params(), 0);
/// ```
#[derive(Module, Debug)]
pub struct ExactState {
    pub(super) previous: PreviousUpdate,
    pub(super) metric: MetricState,
}

impl ExactState {
    /// The state before the first step, with the momentum that the method takes.
    pub(super) fn new(solve: &SolveOptions, momentum: f64, params: &[ParamInfo]) -> Self {
        Self {
            previous: if momentum > 0.0 {
                PreviousUpdate::zeros(params)
            } else {
                PreviousUpdate::empty()
            },
            metric: MetricState::zeros(&solve.metric, params),
        }
    }
}
