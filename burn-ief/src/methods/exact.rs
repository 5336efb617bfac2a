//! The method of an update rule: exact per-batch solves of EF, iEF, SF and the natural gradient.

use super::method::{Joining, Method, MethodUpdate, Reduction, StepReport, rule_name};
use super::metric::MetricState;
use super::options::{SolveOptions, StepOptions};
use super::recommended::Recommended;
use super::rule::{Solution, System, UpdateRule};
use super::shard_rows::{ShardRows, out_of_order, squares, stack};
use super::solving::Solving;
use super::state::{ExactState, PreviousUpdate};
use crate::error::Error;
use crate::jacobian::{GramPrecision, Jacobian, RecordedBatch, Rest, Scaling};
use crate::linalg::dot;
use crate::params::{Direction, ParamInfo};
use crate::record::{LabelDraw, Tape};
use crate::rows::Squares;
use crate::solve::{Cancellation, SolveReport, trust_region_factor};

/// A training method made of an [`UpdateRule`].
///
/// "Exact" means that the system of the batch is solved without an approximation of J. EF and iEF
/// remain approximations of the natural gradient.
///
/// ```
/// use burn::config::Config;
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::methods::{Ef, Exact, Recommended, SolveOptions, StepOptions};
/// use burn_ief::prelude::*;
///
/// // What `EfConfig::new().init(&model)` builds, but for its normalised updates. Put your own rule
/// // in the place of `Ef`.
/// let method = Exact::new(
///     Ef::default(),
///     &SolveOptions::new(),
///     &StepOptions::new(),
///     &Recommended::default(),
/// )?;
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 1).init(&device);
/// let mut optim = NaturalOptimizer::new(method, &model);
/// let model = optim.step_closure(0.1, model, |model| {
///     model.forward_recorded(Tensor::<2>::ones([2, 3], &device)).mean()
/// })?;
/// assert_eq!(optim.steps(), 1);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Exact<R> {
    rule: R,
    solving: Solving,
    step: StepOptions,
    /// The squares of the rows that the metric needs; `None` for the identity.
    squares: Option<Squares>,
}

impl<R: UpdateRule> Exact<R> {
    /// The method of a rule, with what it recommends for options that are left open.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first option that is out of range.
    pub fn new(
        rule: R,
        solve: &SolveOptions,
        step: &StepOptions,
        recommended: &Recommended,
    ) -> Result<Self, Error> {
        solve.validate()?;
        step.validate()?;
        let solving = Solving::new(solve, recommended);
        if solving.momentum > 0.0 && !rule.supports_start() {
            return Err(Error::config(
                "solve.momentum",
                solving.momentum,
                "0: this rule does not start from a previous update",
            ));
        }
        Ok(Self {
            rule,
            squares: solving.metric.wanted(),
            solving,
            step: step.resolved(recommended.norm),
        })
    }

    /// The rule.
    pub fn rule(&self) -> &R {
        &self.rule
    }

    /// The system of some rows; the rule sees the scaled ones.
    fn system<'a>(
        &self,
        rows: &'a ShardRows,
        scaled: &'a Jacobian,
        previous: &PreviousUpdate,
    ) -> Result<System<'a>, Error> {
        let mut system = System::recorded(scaled, rows.order.as_deref(), rows.samples);
        system = system.with_damping(self.solving.damping);
        if let Some(norms) = &rows.norms {
            system = system.with_output_norms(norms.clone());
        }
        if let Some(matches) = &rows.matches {
            system = system.with_label_matches(matches.clone());
        }
        if let Some(fitted) = &rows.fitted {
            system = system.with_fitted(fitted.clone());
        }
        if self.solving.momentum > 0.0 {
            let previous = previous.direction(&rows.jacobian)?;
            // The rules solve for the rows, unless there are fewer parameters.
            let image = if rows.jacobian.columns() > rows.jacobian.samples() {
                let (gram, image) = scaled.gram_and_image_of(&rows.jacobian, &previous)?;
                system = system.with_recorded_gram(gram);
                image
            } else {
                rows.jacobian.image(&previous)?
            };
            let start = image
                .into_iter()
                .map(|x| self.solving.momentum * x)
                .collect();
            system = system.with_recorded_start(start);
        }
        Ok(system)
    }

    /// Solve one system; the update is δ = Δ − μΔ_prev, not scaled if there is momentum.
    ///
    /// With a metric D the rule sees the rows `J D^½`, and `δ = D Jᵀ c`.
    fn solve_rows(
        &self,
        mut rows: ShardRows,
        previous: &PreviousUpdate,
        metric: Option<&Scaling>,
    ) -> Result<Solved, Error> {
        let keeps = self.solving.momentum > 0.0;
        let root = metric.map(Scaling::root);
        let mut scaled = root.as_ref().map(|root| rows.jacobian.clone().scaled(root));
        let seen = scaled.as_ref().unwrap_or(&rows.jacobian);
        let mut system = self.system(&rows, seen, previous)?;
        let mut solution = self.rule.solve(&system)?;
        if solution.report().is_at_floor() && rows.jacobian.can_accumulate_in_f64() {
            // The damping is below the precision of a Gram matrix in f32, so take one in f64.
            drop(system);
            rows.jacobian = rows.jacobian.with_precision(GramPrecision::F64);
            scaled = scaled.map(|scaled| scaled.with_precision(GramPrecision::F64));
            let seen = scaled.as_ref().unwrap_or(&rows.jacobian);
            system = self.system(&rows, seen, previous)?;
            solution = self.rule.solve(&system)?;
        }
        let samples = rows.samples;
        let bound = self.solving.trust_region;
        let radius = bound.radius(samples, rows.norms.as_deref());
        match solution {
            Solution::Rows(mut update) => {
                let unscaled = keeps.then(|| update.values.clone());
                update.clip(radius);
                let values = unscaled.unwrap_or(update.values);
                if !values.iter().all(|value| value.is_finite()) {
                    return Err(Error::NonFiniteUpdate);
                }
                if values.len() != rows.jacobian.samples() {
                    return Err(Error::Size {
                        what: "coefficients of the rule",
                        expected: rows.jacobian.samples(),
                        found: values.len(),
                    });
                }
                let cancellation = system
                    .known_gram()
                    .map(|gram| Cancellation::new(gram, &values));
                drop(system);
                let cancels = match cancellation {
                    Some(cancellation) if !cancellation.fits(rows.jacobian.largest_update()) => {
                        return Err(Error::NonFiniteUpdate);
                    }
                    Some(cancellation) => cancellation.loses_digits(rows.jacobian.row_epsilon()),
                    None => false,
                };
                let mut report = update.report;
                report.decrease = update.decrease;
                report.decrease.truncate(samples);
                let values = match &rows.order {
                    Some(order) => out_of_order(values, order),
                    None => values,
                };
                let jacobian = match scaled.zip(root) {
                    // J D, in the memory of J D^½.
                    Some((scaled, root)) => scaled.scaled(&root),
                    None => rows.jacobian,
                };
                let update = if cancels {
                    jacobian.into_wide_combination(&values)?
                } else {
                    jacobian.into_combination(&values)?
                };
                Ok(Solved { update, report })
            }
            Solution::Parameters {
                mut update,
                mut report,
            } => {
                if !update
                    .iter()
                    .all(|x| x.abs() <= rows.jacobian.largest_update())
                {
                    return Err(Error::NonFiniteUpdate);
                }
                let start = system.start()?;
                let dense = system.dense_rows()?.unwrap_or_default();
                let image = dense.iter().zip(start);
                let mut image: Vec<f64> = image.map(|(row, s)| s + dot(row, &update)).collect();
                let curvature = image[samples..].iter().map(|x| x * x).sum();
                report.scale = trust_region_factor(curvature, radius);
                image.iter_mut().for_each(|x| *x *= report.scale);
                if !keeps {
                    update.iter_mut().for_each(|x| *x *= report.scale);
                }
                image.truncate(samples);
                report.decrease = image;
                let update = rows.jacobian.direction(&update)?;
                let update = match root {
                    Some(root) => root.times(update, rows.jacobian.params()),
                    None => update,
                };
                Ok(Solved { update, report })
            }
        }
    }
}

/// What one solve gives.
struct Solved {
    update: Direction,
    report: SolveReport,
}

/// What an exact method keeps of one shard: its rows, and the facts about its outputs.
#[derive(Debug)]
pub struct ExactShard {
    rows: ShardRows,
    rest: Rest,
}

/// All shards of a step: the systems to solve.
#[derive(Debug)]
pub struct ExactSystems {
    systems: Vec<ShardRows>,
    /// What the sum of their updates is multiplied with.
    factor: f64,
    params: Vec<ParamInfo>,
    rest: Rest,
}

impl<R: UpdateRule + Clone> Method for Exact<R> {
    type State = ExactState;
    type Shard = ExactShard;
    type Joined = ExactSystems;

    fn record_name(&self) -> String {
        rule_name(&self.rule)
    }

    fn step_options(&self) -> &StepOptions {
        &self.step
    }

    fn new_state(&self, params: &[ParamInfo]) -> ExactState {
        ExactState::new(&self.solving.metric, self.solving.momentum, params)
    }

    fn start_shard(&self, step: u64, first_row: u64) -> Tape {
        match self.rule.labels(step) {
            Some(draw) => Tape::with_drawn_labels(draw.from_row(first_row)),
            None => Tape::start(),
        }
    }

    fn shard_samples(&self, shard: &ExactShard) -> usize {
        shard.rows.samples
    }

    fn labels_by_sample(&self, step: u64) -> Result<Option<LabelDraw>, Error> {
        Ok(self.rule.labels(step))
    }

    fn measure(
        &self,
        batch: RecordedBatch,
        _state: &ExactState,
        step: u64,
    ) -> Result<ExactShard, Error> {
        let samples = batch.samples();
        let norms = if self.rule.needs_output_norms() {
            Some(batch.output_norms()?)
        } else {
            None
        };
        let draws = self.rule.labels(step).is_some();
        let matches = if draws {
            Some(batch.label_matches()?)
        } else {
            None
        };
        let fitted = if self.rule.skips_fitted() {
            batch.fitted()
        } else {
            None
        };
        let (jacobian, rest) = batch.into_all_rows();
        let jacobian = if draws {
            jacobian
        } else {
            jacobian.narrow(0, samples)?
        };
        let rows = ShardRows {
            jacobian: jacobian.with_precision(self.solving.precision),
            samples,
            norms,
            matches,
            fitted,
            order: None,
        };
        Ok(ExactShard { rows, rest })
    }

    fn join(&self, shards: Vec<ExactShard>, how: &Joining) -> Result<ExactSystems, Error> {
        let (rows, rests): (Vec<_>, Vec<_>) = shards
            .into_iter()
            .map(|shard| (shard.rows, shard.rest))
            .unzip();
        let count = rows.len();
        let Some(first) = rows.first() else {
            return Err(Error::Size {
                what: "shards of a step",
                expected: 1,
                found: 0,
            });
        };
        for other in &rows[1..] {
            first.jacobian.same_params(&other.jacobian)?;
        }
        let params = first.jacobian.params().to_vec();
        let (systems, factor, rest) = match how.reduction {
            _ if count == 1 => (rows, 1.0, Rest::join(rests)),
            Reduction::Joint => (vec![stack(rows, &how.exchange)?], 1.0, Rest::join(rests)),
            Reduction::Mean => (rows, 1.0 / count as f64, Rest::sum(rests)),
            Reduction::Sum => (rows, 1.0, Rest::sum(rests)),
        };
        Ok(ExactSystems {
            systems,
            factor,
            params,
            rest,
        })
    }

    fn update(
        &self,
        state: ExactState,
        joined: ExactSystems,
        _step: u64,
    ) -> Result<MethodUpdate<ExactState>, Error> {
        let ExactSystems {
            mut systems,
            factor,
            params,
            rest,
        } = joined;
        let ExactState { previous, metric } = state;
        let (metric, scaling) = match self.squares {
            Some(wanted) => {
                let (sums, samples) = squares(&mut systems, wanted);
                let metric =
                    metric.unwrap_or_else(|| MetricState::zeros(&self.solving.metric, &[]));
                let next = metric.advance(&self.solving.metric, &params, sums, samples)?;
                (Some(next.0), Some(next.1))
            }
            None => (metric, None),
        };
        let mut unused: Option<Vec<String>> = None;
        let mut sum = Direction::default();
        let mut solves = Vec::with_capacity(systems.len());
        for system in systems {
            let missing = system.jacobian.unused();
            unused = Some(match unused {
                Some(unused) => unused.into_iter().filter(|p| missing.contains(p)).collect(),
                None => missing,
            });
            let solved = self.solve_rows(system, &previous, scaling.as_ref())?;
            sum.add_all(&params, solved.update);
            solves.push(solved.report);
        }
        sum.scale(factor);
        let scales = solves.iter().map(|solve| solve.scale).sum::<f64>();
        let scale = scales / solves.len().max(1) as f64;
        let (previous, update) = if self.solving.momentum > 0.0 {
            let (previous, mut update) = previous.advance(&params, sum, self.solving.momentum)?;
            update.scale(scale);
            (previous, update)
        } else {
            (previous, sum)
        };
        Ok(MethodUpdate {
            state: ExactState { previous, metric },
            update,
            params,
            rest,
            report: StepReport::of_solves(solves, unused.unwrap_or_default(), scale),
        })
    }
}
