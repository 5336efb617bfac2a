//! Statistics of γ for many directions, over batches and checkpoints.

use super::quality::Quality;
use super::statistics::Statistics;
use super::sweep::SweepPoint;
use crate::solve::DampingAmount;

/// Statistics of γ for many directions, over the batches of many checkpoints: the table from which to
/// plot γ over the stages of training or over λ.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use burn_ief::eval::{Fisher, LossKind, Survey, Sweep, SweepRule};
/// use burn_ief::jacobian::RecordedBatch;
/// use burn_ief::nn::ForwardRecorded;
/// use burn_ief::solve::{DampedMatrix, DampingAmount};
/// use burn_ief::{Likelihood, Tape, mark_mean_loss, mark_output_as};
///
/// let device = Device::flex().autodiff();
/// let mut survey = Survey::new();
/// for epoch in ["1", "2"] {
///     let model = LinearConfig::new(4, 1).init(&device); // a checkpoint
///     for _batch in 0..3 {
///         let x = Tensor::<2>::random([8, 4], Distribution::Normal(0.0, 1.0), &device);
///         let tape = Tape::start();
///         let z = mark_output_as(model.forward_recorded(x.clone()), Likelihood::Gaussian);
///         let grads = mark_mean_loss(z.square().squeeze_dim::<1>(1) * 0.5).backward();
///         let recorded = RecordedBatch::collect(tape, grads, &model, None)?;
///
///         let at = Fisher::new(LossKind::LeastSquares).at(&model, |m| m.forward_recorded(x.clone()))?;
///         let sweep = Sweep::new(&recorded)?;
///         let sgd = at.quality(sweep.gradient(), sweep.gradient())?;
///         let rules = [SweepRule::ef(), SweepRule::ief(DampedMatrix::Fisher)];
///         let points = sweep.qualities(&at, &rules, &[DampingAmount::Relative(1e-3)])?;
///         survey.push(epoch, "sgd", &sgd, &sgd);
///         survey.push_sweep(epoch, &points, &sgd);
///     }
/// }
/// assert_eq!(survey.rows().len(), 2 * 3);
/// let row = survey.row("2", "ief_fisher", Some(DampingAmount::Relative(1e-3))).unwrap();
/// assert_eq!(row.ratio.count(), 3);
/// assert!(row.ratio.mean() <= 1.0);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Survey {
    rows: Vec<SurveyRow>,
}

/// One direction at one checkpoint, see [`Survey`].
///
/// ```
/// use burn_ief::eval::SurveyRow;
///
/// let json = r#"{
///     "stage": "1", "direction": "sgd", "damping": null,
///     "gamma": {"count": 2, "mean": 3.0, "spread": 8.0},
///     "ratio": {"count": 2, "mean": 1.0, "spread": 0.0},
///     "reduction": {"count": 2, "mean": 0.5, "spread": 0.0},
///     "error": {"count": 2, "mean": 0.0, "spread": 0.0}
/// }"#;
/// let row: SurveyRow = serde_json::from_str(json)?;
/// assert_eq!((row.gamma.mean(), row.gamma.standard_error()), (3.0, 2.0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct SurveyRow {
    /// Name of the checkpoint.
    pub stage: String,
    /// Name of the direction.
    pub direction: String,
    /// The damping of the direction; `None` outside sweeps.
    pub damping: Option<DampingAmount>,
    /// γ.
    pub gamma: Statistics,
    /// γ divided by the baseline's γ on the same batch.
    pub ratio: Statistics,
    /// 1 / (2 γ²), the best reduction of the summed loss that the quadratic model predicts.
    pub reduction: Statistics,
    /// The estimated error of γ on each batch. If it is not much smaller than the standard deviation
    /// of `gamma`, use more draws or exact passes.
    pub error: Statistics,
}

impl Survey {
    /// A survey without rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add the quality of a direction on one more batch, with the quality of a baseline on the same
    /// batch.
    pub fn push(&mut self, stage: &str, direction: &str, quality: &Quality, baseline: &Quality) {
        self.add((stage, direction, None), quality, baseline);
    }

    /// Add every point of a sweep over λ on one more batch, with the quality of a baseline on the
    /// same batch.
    pub fn push_sweep(&mut self, stage: &str, points: &[SweepPoint], baseline: &Quality) {
        for point in points {
            let rule = point.rule.to_string();
            self.add((stage, &rule, Some(point.amount)), &point.quality, baseline);
        }
    }

    /// All rows, in the order in which they were first pushed.
    pub fn rows(&self) -> &[SurveyRow] {
        &self.rows
    }

    /// The row of a direction at a checkpoint; `None` if it was never pushed.
    pub fn row(
        &self,
        stage: &str,
        direction: &str,
        damping: Option<DampingAmount>,
    ) -> Option<&SurveyRow> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.is((stage, direction, damping)))
    }

    fn add(&mut self, key: Key<'_>, quality: &Quality, baseline: &Quality) {
        let index = match self.rows.iter().position(|row| row.is(key)) {
            Some(index) => index,
            None => {
                self.rows.push(SurveyRow::new(key));
                self.rows.len() - 1
            }
        };
        let row = &mut self.rows[index];
        row.gamma.push(quality.gamma());
        row.ratio.push(quality.ratio(baseline));
        row.reduction.push(quality.best_reduction());
        row.error.push(quality.gamma_error());
    }
}

/// Stage, direction and damping.
type Key<'a> = (&'a str, &'a str, Option<DampingAmount>);

impl SurveyRow {
    fn new((stage, direction, damping): Key<'_>) -> Self {
        Self {
            stage: stage.into(),
            direction: direction.into(),
            damping,
            gamma: Statistics::new(),
            ratio: Statistics::new(),
            reduction: Statistics::new(),
            error: Statistics::new(),
        }
    }

    fn is(&self, key: Key<'_>) -> bool {
        (self.stage.as_str(), self.direction.as_str(), self.damping) == key
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FisherCurvature, GammaMethod, PassCount};
    use super::*;

    fn quality(slope: f64, value: f64) -> Quality {
        let curvature = FisherCurvature {
            value,
            error: 0.1 * value,
            per_sample: vec![value],
            method: GammaMethod::Exact,
            passes: PassCount::default(),
        };
        Quality { slope, curvature }
    }

    #[test]
    fn batches_of_one_direction_share_a_row() {
        let mut survey = Survey::new();
        let baseline = quality(1.0, 4.0);
        survey.push("start", "adamw", &quality(1.0, 1.0), &baseline);
        survey.push("start", "adamw", &quality(2.0, 4.0), &baseline);
        survey.push("end", "adamw", &quality(1.0, 16.0), &baseline);
        assert_eq!(survey.rows().len(), 2);
        let row = survey.row("start", "adamw", None).unwrap();
        assert_eq!((row.gamma.count(), row.gamma.mean()), (2, 1.0));
        assert_eq!((row.ratio.mean(), row.reduction.mean()), (0.5, 0.5));
        assert!((row.error.mean() - 0.05).abs() < 1e-15);
        assert_eq!(survey.row("end", "adamw", None).unwrap().ratio.mean(), 2.0);
        assert!(survey.row("end", "ief", None).is_none());
        let text = serde_json::to_string(&survey).unwrap();
        assert_eq!(serde_json::from_str::<Survey>(&text).unwrap(), survey);
    }
}
