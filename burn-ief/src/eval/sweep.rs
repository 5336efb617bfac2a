//! γ of the updates over many dampings, from one recorded batch.

use std::fmt;
use std::sync::Arc;

use burn::module::Module;
use burn::optim::GradientsParams;

use super::fisher_at::FisherAt;
use super::quality::Quality;
use crate::error::Error;
use crate::jacobian::{Jacobian, RecordedBatch};
use crate::linalg::Symmetric;
use crate::methods::{Ef, Ief, Sf, Solution, System, UpdateRule};
use crate::solve::{DampedMatrix, Damping, DampingAmount, SolveReport};

/// An update rule of a sweep, with a name for tables.
///
/// Any [`UpdateRule`] can take part; rules that draw labels use the copies of the recorded batch.
///
/// ```
/// use burn_ief::eval::SweepRule;
/// use burn_ief::methods::Ggt;
///
/// let mut rules = SweepRule::all();
/// rules.push(SweepRule::new("ggt", Ggt::default()));
/// let names: Vec<String> = rules.iter().map(|rule| rule.to_string()).collect();
/// assert_eq!(names, ["ef", "ief_gram", "ief_fisher", "sf", "ggt"]);
/// ```
#[derive(Debug, Clone)]
pub struct SweepRule {
    name: String,
    rule: Arc<dyn UpdateRule>,
    on: DampedMatrix,
}

impl SweepRule {
    /// A rule under this name.
    pub fn new(name: impl Into<String>, rule: impl UpdateRule) -> Self {
        Self {
            name: name.into(),
            rule: Arc::new(rule),
            on: DampedMatrix::default(),
        }
    }

    /// With λ on this matrix.
    pub fn on(self, on: DampedMatrix) -> Self {
        Self { on, ..self }
    }

    /// Empirical Fisher, `ef`.
    pub fn ef() -> Self {
        Self::new("ef", Ef::default())
    }

    /// Improved empirical Fisher with λ on this matrix, `ief_fisher` or `ief_gram`.
    pub fn ief(on: DampedMatrix) -> Self {
        Self::new(format!("ief_{on}"), Ief::default()).on(on)
    }

    /// The Fisher matrix of the recording's copies, `sf`: SF for drawn labels, the exact natural
    /// gradient for enumerated ones.
    pub fn sf() -> Self {
        Self::new("sf", Sf::default())
    }

    /// EF, iEF with both dampings, and SF.
    pub fn all() -> Vec<Self> {
        vec![
            Self::ef(),
            Self::ief(DampedMatrix::Gram),
            Self::ief(DampedMatrix::Fisher),
            Self::sf(),
        ]
    }
}

impl fmt::Display for SweepRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// One point of a sweep: a line of a table of γ against λ. See [`Sweep`] for an example.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SweepPoint {
    /// The name of the rule.
    pub rule: String,
    /// The damping that was asked for.
    pub amount: DampingAmount,
    /// How good the update is.
    pub quality: Quality,
    /// How its system was solved; `damping` is λ itself.
    pub report: SolveReport,
}

/// The updates of one recorded batch under any damping; the Gram matrices are computed once.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use burn_ief::eval::{Fisher, LossKind, Sweep, SweepRule};
/// use burn_ief::jacobian::RecordedBatch;
/// use burn_ief::nn::ForwardRecorded;
/// use burn_ief::solve::DampingAmount;
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
/// let at = Fisher::new(LossKind::CrossEntropy).at(&model, |m| m.forward_recorded(x.clone()))?;
/// let sweep = Sweep::new(&recorded)?;
/// let sgd = at.quality(sweep.gradient(), sweep.gradient())?;
/// let amounts = [1e-6, 1e-3, 1.0].map(DampingAmount::Relative);
/// let points = sweep.qualities(&at, &SweepRule::all(), &amounts)?;
/// assert_eq!(points.len(), 12);
/// for point in &points {
///     println!("{},{},{}", point.rule, point.report.damping, point.quality.gamma());
///     assert!(point.quality.ratio(&sgd).is_finite());
/// }
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
    /// [`Error::NoOutput`] for iEF if no output was marked; [`Error::NoSampledLabels`] for SF if the
    /// recording drew no labels; those of the rule.
    pub fn update(
        &self,
        rule: &SweepRule,
        amount: DampingAmount,
    ) -> Result<(GradientsParams, SolveReport), Error> {
        let damping = Damping::from(amount).on(rule.on).without_floor();
        let copies = rule.rule.labels(0).is_some();
        let jacobian = if copies { &self.all } else { &self.jacobian };
        let gram = if copies {
            self.gram.clone()
        } else {
            let rows: Vec<usize> = (0..self.samples).collect();
            self.gram.principal(&rows).into_owned()
        };
        let mut system = System::recorded(jacobian, None, self.samples)
            .with_recorded_gram(gram)
            .with_damping(damping)
            .with_epsilon(self.all.gram_epsilon());
        if rule.rule.needs_output_norms() {
            system = system.with_output_norms(self.norms.clone()?);
        }
        if copies {
            system = system.with_label_matches(self.matches.clone()?);
        }
        match rule.rule.solve(&system)? {
            Solution::Rows(update) => Ok((jacobian.t_matvec(&update.values)?, update.report)),
            Solution::Parameters { update, report } => Ok((jacobian.unflatten(&update)?, report)),
        }
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
        amounts: &[DampingAmount],
    ) -> Result<Vec<SweepPoint>, Error> {
        let mut points = Vec::with_capacity(rules.len() * amounts.len());
        for rule in rules {
            for &amount in amounts {
                let (direction, report) = self.update(rule, amount)?;
                points.push(SweepPoint {
                    rule: rule.to_string(),
                    amount,
                    quality: at.quality(&direction, &self.gradient)?,
                    report,
                });
            }
        }
        Ok(points)
    }
}
