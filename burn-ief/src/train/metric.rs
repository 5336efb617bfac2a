//! The report of a step as a metric.

use std::sync::{Arc, Mutex};

use burn::module::Module;
use burn::tensor::TensorReadError;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use super::natural_model::NaturalModel;
use crate::methods::StepReport;

/// Which number of a [`StepReport`]. Those of a solve are for exact methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SolveQuantity {
    /// The damping λ that was used (sum form).
    Damping,
    /// The estimated condition number of the damped matrix.
    Condition,
    /// Its numerical rank.
    Rank,
    /// The relative residual of the solve.
    Residual,
    /// Samples that contributed nothing.
    ZeroRows,
    /// The factor of the trust region or KL clip and of the normalisation; of any method.
    Scale,
    /// The decrease of the mean loss that the K-FAC family expects for a step size of 1.
    Decrease,
}

impl SolveQuantity {
    fn name(self) -> &'static str {
        match self {
            Self::Damping => "Solve damping",
            Self::Condition => "Solve condition",
            Self::Rank => "Solve rank",
            Self::Residual => "Solve residual",
            Self::ZeroRows => "Solve zero rows",
            Self::Scale => "Update scale",
            Self::Decrease => "Update decrease",
        }
    }

    /// `None` if the method has no such number.
    fn of(self, report: &StepReport) -> Option<f64> {
        let solve = report.solve();
        match self {
            Self::Damping => solve.map(|solve| solve.damping),
            Self::Condition => solve.map(|solve| solve.condition),
            Self::Rank => solve.map(|solve| solve.rank as f64),
            Self::Residual => solve.map(|solve| solve.residual),
            Self::ZeroRows => solve.map(|solve| solve.zero_rows.len() as f64),
            Self::Scale => Some(report.scale),
            Self::Decrease => report.factors.as_ref().map(|factors| factors.decrease),
        }
    }
}

/// A training metric that logs one number of the latest solve.
///
/// Metrics are computed on a thread of their own, so an entry can belong to a neighbouring step.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn::train::metric::Metric;
/// use burn_ief::prelude::*;
/// use burn_ief::train::{NaturalModel, SolveMetric, SolveQuantity};
///
/// let model = LinearConfig::new(3, 1).init(&Device::flex().autodiff());
/// let natural = NaturalModel::new(model, IefConfig::new().build());
/// // To be given to `SupervisedTraining::metric_train_numeric`.
/// let condition = SolveMetric::new(&natural, SolveQuantity::Condition);
/// assert_eq!(*condition.name(), "Solve condition");
/// ```
#[derive(Clone)]
pub struct SolveMetric {
    quantity: SolveQuantity,
    report: Arc<Mutex<Option<StepReport>>>,
    state: NumericMetricState,
}

impl SolveMetric {
    /// Follow the solves of this model (and of its clones and forks).
    pub fn new<M: Module>(natural: &NaturalModel<M>, quantity: SolveQuantity) -> Self {
        Self {
            quantity,
            report: natural.report_handle(),
            state: NumericMetricState::default(),
        }
    }
}

impl Metric for SolveMetric {
    type Input = ();

    fn name(&self) -> MetricName {
        Arc::new(self.quantity.name().to_string())
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: None,
            higher_is_better: false,
        }
        .into()
    }

    fn update(
        &mut self,
        (): &Self::Input,
        _metadata: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let report = self
            .report
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(value) = report.as_ref().and_then(|report| self.quantity.of(report)) {
            self.state.update(value, 1);
        }
        drop(report);
        Ok(self
            .state
            .compute_update(FormatOptions::new(self.name()).precision(3)))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self
            .state
            .compute_final(FormatOptions::new(self.name()).precision(3)))
    }

    fn clear(&mut self) {
        self.state.reset();
    }
}

impl Numeric for SolveMetric {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}
