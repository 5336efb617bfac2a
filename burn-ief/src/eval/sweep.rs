//! γ of the updates over many dampings, from one recorded batch.

use std::fmt;

use burn::module::Module;
use burn::optim::GradientsParams;

use super::fisher::FisherAt;
use super::quality::Quality;
use crate::error::Error;
use crate::jacobian::{Jacobian, RecordedBatch};
use crate::linalg::Symmetric;
use crate::update::{Amount, Damping, On, SolveReport, ef, ief, sf, sf_small};

/// An update rule of a sweep.
///
/// ```
/// use burn_ief::eval::SweepRule;
/// use burn_ief::update::On;
///
/// assert!(SweepRule::ALL.contains(&SweepRule::Ief(On::Gram)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SweepRule {
    /// Empirical Fisher.
    Ef,
    /// Improved empirical Fisher, with λ on this matrix.
    Ief(On),
    /// The Fisher matrix of the recording's copies: SF for drawn labels, the exact natural
    /// gradient for enumerated ones.
    Sf,
}

impl SweepRule {
    /// EF, iEF with both dampings, and SF.
    pub const ALL: [Self; 4] = [
        Self::Ef,
        Self::Ief(On::Gram),
        Self::Ief(On::Fisher),
        Self::Sf,
    ];
}

impl fmt::Display for SweepRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ef => "ef",
            Self::Ief(On::Gram) => "ief_gram",
            Self::Ief(On::Fisher) => "ief_fisher",
            Self::Sf => "sf",
        })
    }
}

/// One point of a sweep: a line of a table of γ against λ, see [`Sweep`].
///
/// ```
/// use burn_ief::eval::SweepPoint;
///
/// fn line(point: &SweepPoint) -> String {
///     format!("{},{},{}", point.rule, point.report.damping, point.quality.gamma())
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SweepPoint {
    /// The rule.
    pub rule: SweepRule,
    /// The damping that was asked for.
    pub amount: Amount,
    /// How good the update is.
    pub quality: Quality,
    /// What its solve did; `damping` is λ itself.
    pub report: SolveReport,
}

/// The updates of one recorded batch under any damping; the Gram matrices are computed once.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use burn_ief::eval::{Fisher, Loss, Sweep, SweepRule};
/// use burn_ief::jacobian::RecordedBatch;
/// use burn_ief::nn::ForwardRecorded;
/// use burn_ief::update::Amount;
/// use burn_ief::{LabelDraw, Tape, mark_loss, mark_output};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let model = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Normal(0.0, 1.0), &device);
/// let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1], &device);
///
/// // Drawn labels are for SF; EF and iEF do without.
/// let tape = Tape::with_drawn_labels(LabelDraw::sample(1, 42, 0));
/// let logits = mark_output(model.forward_recorded(x.clone()));
/// let cross_entropy = CrossEntropyLossConfig::new().init(&device).forward(logits, y);
/// let grads = mark_loss(cross_entropy).backward();
/// let recorded = RecordedBatch::collect(tape, grads, &model, None)?;
///
/// let at = Fisher::new(Loss::CrossEntropy).at(&model, |m| m.forward_recorded(x.clone()))?;
/// let sweep = Sweep::new(&recorded)?;
/// let sgd = at.quality(sweep.gradient(), sweep.gradient())?;
/// let amounts = [1e-6, 1e-3, 1.0].map(Amount::Relative);
/// let points = sweep.qualities(&at, &SweepRule::ALL, &amounts)?;
/// assert_eq!(points.len(), 12);
/// let ratios: Vec<f64> = points.iter().map(|p| p.quality.ratio(&sgd)).collect();
/// assert!(ratios.iter().all(|ratio| ratio.is_finite()));
/// # Ok::<(), burn_ief::Error>(())
/// ```
pub struct Sweep {
    jacobian: Jacobian,
    /// Rows of J, then of the copies.
    all: Jacobian,
    /// Inner products of all rows.
    gram: Symmetric,
    samples: usize,
    norms: Result<Vec<f64>, Error>,
    matches: Result<Vec<bool>, Error>,
    gradient: GradientsParams,
}

impl Sweep {
    /// From a recorded batch.
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] naming samples whose gradients are NaN or infinite.
    pub fn new(recorded: &RecordedBatch) -> Result<Self, Error> {
        let all = recorded.all_rows().clone();
        let jacobian = recorded.jacobian();
        let samples = recorded.samples();
        Ok(Self {
            gram: all.gram()?,
            gradient: jacobian.t_matvec(&vec![1.0; samples])?,
            norms: recorded.output_norms(),
            matches: recorded.label_matches(),
            jacobian,
            all,
            samples,
        })
    }

    /// g, the gradient of the summed loss.
    pub fn gradient(&self) -> &GradientsParams {
        &self.gradient
    }

    /// The update of a rule with this damping, without a floor under λ.
    ///
    /// # Errors
    ///
    /// [`Error::NoOutput`] for iEF if no output was marked; [`Error::NoSampledLabels`] for SF if
    /// the recording drew none; those of [`ef`], [`ief`] and [`sf`].
    pub fn update(
        &self,
        rule: SweepRule,
        amount: Amount,
    ) -> Result<(GradientsParams, SolveReport), Error> {
        let damping = match amount {
            Amount::Absolute(lambda) => Damping::absolute(lambda),
            Amount::Relative(fraction) => Damping::relative(fraction),
        };
        let damping = damping.without_floor();
        let rows: Vec<usize> = (0..self.samples).collect();
        let epsilon = self.all.gram_epsilon();
        let update = match rule {
            SweepRule::Ef => ef(&self.gram.principal(&rows), &damping, epsilon, None)?,
            SweepRule::Ief(on) => {
                let s = self.norms.as_ref().map_err(Clone::clone)?;
                let gram = self.gram.principal(&rows);
                ief(&gram, s, &damping.on(on), epsilon, None)?
            }
            SweepRule::Sf => return self.drawn(&damping, epsilon),
        };
        Ok((self.jacobian.t_matvec(&update.values)?, update.report))
    }

    fn drawn(
        &self,
        damping: &Damping,
        epsilon: f64,
    ) -> Result<(GradientsParams, SolveReport), Error> {
        let matches = self.matches.as_ref().map_err(Clone::clone)?;
        // No more parameters than drawn rows: solve for the parameters themselves.
        if self.all.columns() <= matches.len() {
            let rows = self.all.to_dense();
            let (delta, report) = sf_small(&rows, self.samples, damping, epsilon)?;
            return Ok((self.all.unflatten(&delta)?, report));
        }
        let update = sf(&self.gram, self.samples, matches, damping, epsilon)?;
        Ok((self.all.t_matvec(&update.values)?, update.report))
    }

    /// γ of every rule at every damping, rule after rule.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update) and [`FisherAt::quality`].
    pub fn qualities<M: Module>(
        &self,
        at: &FisherAt<'_, M>,
        rules: &[SweepRule],
        amounts: &[Amount],
    ) -> Result<Vec<SweepPoint>, Error> {
        let points = rules
            .iter()
            .flat_map(|&rule| amounts.iter().map(move |&amount| (rule, amount)));
        let point = |(rule, amount)| {
            let (direction, report) = self.update(rule, amount)?;
            Ok(SweepPoint {
                rule,
                amount,
                quality: at.quality(&direction, &self.gradient)?,
                report,
            })
        };
        points.map(point).collect()
    }
}
