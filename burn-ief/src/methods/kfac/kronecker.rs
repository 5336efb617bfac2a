//! The method of the K-FAC family: measure, join and apply Kronecker factors.

use burn::tensor::Tensor;

use super::factor_options::FactorOptions;
use super::factors::{RowWeights, Uses};
use super::gradient_rows::GradientRows;
use super::layout::{Form, Layout, Slot};
use super::options::FactorLabels;
use super::rule::FactorRule;
use super::state::KroneckerState;
use crate::error::Error;
use crate::jacobian::{Block, Part, RecordedBatch, Rest};
use crate::methods::method::{Joining, Method, MethodUpdate, Reduction, StepReport, rule_name};
use crate::methods::options::StepOptions;
use crate::moves::moved;
use crate::params::{Direction, ParamInfo};
use crate::record::Tape;

/// The method of a member of the K-FAC family.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::{Device, Distribution, Int, Tensor};
/// use burn_ief::prelude::*;
///
/// let device = Device::flex().autodiff();
/// let mut model = LinearConfig::new(4, 3).init(&device);
/// let x = Tensor::<2>::random([8, 4], Distribution::Default, &device);
/// let y = Tensor::<1, Int>::from_data([0, 1, 2, 0, 1, 2, 0, 1], &device);
///
/// let mut optim = IekfacConfig::new().init(&model);
/// for _ in 0..3 {
///     model = optim.step_closure(0.5, model, |model| {
///         let logits = mark_output(model.forward_recorded(x.clone()));
///         CrossEntropyLossConfig::new().init(&device).forward(logits, y.clone())
///     })?;
/// }
/// assert_eq!(optim.steps(), 3);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Kronecker<R> {
    rule: R,
    factors: FactorOptions,
    step: StepOptions,
}

impl<R: FactorRule> Kronecker<R> {
    /// The method of a member.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first option that is out of range.
    pub fn new(rule: R, factors: &FactorOptions, step: &StepOptions) -> Result<Self, Error> {
        factors.validate()?;
        step.validate()?;
        Ok(Self {
            rule,
            factors: factors.clone(),
            step: step.resolved(None),
        })
    }

    fn curvature(&self, slot: &Slot, part: &Part, weights: &RowWeights) -> Option<Vec<Tensor<2>>> {
        match slot.form {
            Form::Plain => None,
            Form::Kronecker {
                inputs, outputs, ..
            } => {
                let [a, b] = fitting(slot, part)?.factors(weights, self.factors.sharing);
                let fits = a.dims() == [inputs; 2] && b.dims() == [outputs; 2];
                fits.then(|| vec![a, b])
            }
            Form::Diagonal => {
                let mut squares = Direction::default();
                let covered = |block: &&Block| slot.params().any(|param| block.covers(param.id));
                for block in part.blocks.iter().filter(covered) {
                    for (id, square) in weights.squares(block) {
                        squares.add(id, square);
                    }
                }
                let diagonal = slot.vector(&squares)?;
                Some(vec![diagonal.reshape([1, slot.columns()])])
            }
        }
    }
}

/// The uses of a slot's layer, if they are as its type says.
fn fitting<'a>(slot: &Slot, part: &'a Part) -> Option<Uses<'a>> {
    let Form::Kronecker { input_side, .. } = slot.form else {
        return None;
    };
    let mut blocks = part.blocks.iter();
    let block = blocks.find(|block| block.parameter == slot.weight.id)?;
    let uses = Uses::of(block)?;
    let bias = slot.bias.as_ref().map(|bias| bias.id);
    (uses.input_side == input_side && block.bias == bias).then_some(uses)
}

/// What the K-FAC family keeps of one shard, or of all shards of a step: means over its samples.
#[derive(Debug)]
pub struct FactorShard {
    params: Vec<ParamInfo>,
    samples: usize,
    /// The mean gradient.
    gradient: Direction,
    /// The curvature of each slot; `None` where the batch does not show it.
    curvature: Vec<Option<Vec<Tensor<2>>>>,
    /// The mean gradient of each slot as rows, where the inverses multiply these in less time.
    rows: Vec<Option<GradientRows>>,
    unused: Vec<String>,
    rest: Rest,
}

impl<R: FactorRule> Method for Kronecker<R> {
    type State = KroneckerState;
    type Shard = FactorShard;
    type Joined = FactorShard;

    fn record_name(&self) -> String {
        rule_name(&self.rule)
    }

    fn step_options(&self) -> &StepOptions {
        &self.step
    }

    fn new_state(&self, params: &[ParamInfo]) -> KroneckerState {
        KroneckerState::new(&Layout::new(params, &self.factors))
    }

    fn start_shard(&self, step: u64, first_row: u64) -> Tape {
        if !self.factors.measures(step) {
            return Tape::start();
        }
        let tape = match self.rule.labels(step) {
            Some(draw) => Tape::with_drawn_labels(draw.from_row(first_row)),
            None => Tape::start(),
        };
        tape.with_factored_rows()
    }

    fn shard_samples(&self, shard: &FactorShard) -> usize {
        shard.samples
    }

    fn measure(
        &self,
        batch: RecordedBatch,
        state: &KroneckerState,
        step: u64,
    ) -> Result<FactorShard, Error> {
        let labels = self.rule.factor_labels();
        match batch.output_norms() {
            // Only ieKFAC needs the norms. For the others they name samples that are not finite.
            Err(Error::NoOutput) if labels != FactorLabels::Improved => {}
            result => drop(result?),
        }
        let params = batch.all_rows().params().to_vec();
        let unused = batch.all_rows().unused();
        let samples = batch.samples();
        let layout = Layout::new(&params, &self.factors);
        state.check(&layout)?;
        let part = &batch.all_rows().parts[0];
        // Factors of a fitted batch, or of drawn labels that are all certain, are rounding. Inverses
        // of them would blow up the next gradient, so the averages stay as they are.
        let curvature = if self.factors.measures(step) && batch.shows_curvature() {
            let weights = RowWeights::new(&batch, labels)?;
            let slots = layout.slots.iter();
            slots
                .map(|slot| self.curvature(slot, part, &weights))
                .collect()
        } else {
            layout.slots.iter().map(|_| None).collect()
        };
        let slots = layout.slots.iter();
        let rows = slots.map(|slot| {
            let Form::Kronecker {
                inputs, outputs, ..
            } = slot.form
            else {
                return None;
            };
            fitting(slot, part)?.gradient_rows(samples, part.scale, [inputs, outputs])
        });
        let rows = rows.collect();
        let (all, rest) = batch.into_all_rows();
        let all = all.narrow(0, samples)?;
        Ok(FactorShard {
            gradient: all.into_combination(&vec![1.0 / samples as f64; samples])?,
            params,
            samples,
            curvature,
            rows,
            unused,
            rest,
        })
    }

    fn join(&self, mut shards: Vec<FactorShard>, how: &Joining) -> Result<FactorShard, Error> {
        let reduction = how.reduction;
        let samples: usize = shards.iter().map(|shard| shard.samples).sum();
        let equal = 1.0 / shards.len().max(1) as f64;
        // The weight of a shard in means, and what the update is multiplied with.
        let weight = |shard: &FactorShard| match reduction {
            Reduction::Joint => shard.samples as f64 / samples as f64,
            Reduction::Mean | Reduction::Sum => equal,
        };
        let factor = match reduction {
            Reduction::Sum => shards.len() as f64,
            Reduction::Joint | Reduction::Mean => 1.0,
        };
        if shards.len() == 1 {
            return Ok(shards.swap_remove(0));
        }
        let weights: Vec<f64> = shards.iter().map(weight).collect();
        let mut shards = shards.into_iter().zip(weights);
        let (mut sum, first) = shards.next().ok_or(Error::Size {
            what: "shards of a step",
            expected: 1,
            found: 0,
        })?;
        sum.scale(first, factor);
        let mut rests = vec![std::mem::take(&mut sum.rest)];
        for (mut shard, weight) in shards {
            if sum
                .params
                .iter()
                .map(|p| p.id)
                .ne(shard.params.iter().map(|p| p.id))
            {
                return Err(Error::Size {
                    what: "parameters shared by two shards",
                    expected: sum.params.len(),
                    found: shard.params.len(),
                });
            }
            shard.scale(weight, factor);
            rests.push(std::mem::take(&mut shard.rest));
            sum.add(shard);
        }
        sum.rest = match reduction {
            Reduction::Joint => Rest::join(rests),
            Reduction::Mean | Reduction::Sum => Rest::sum(rests),
        };
        Ok(sum)
    }

    fn update(
        &self,
        state: KroneckerState,
        joined: FactorShard,
        step: u64,
    ) -> Result<MethodUpdate<KroneckerState>, Error> {
        let layout = Layout::new(&joined.params, &self.factors);
        state.check(&layout)?;
        let refresh = self.factors.inverts(step);
        let state = state.advance(&layout, joined.curvature, &self.factors, refresh)?;
        let (gradient, rows) = (joined.gradient, joined.rows);
        let (update, mut report) = state.precondition(&layout, &gradient, rows, &self.factors)?;
        report.refreshed = refresh;
        Ok(MethodUpdate {
            state,
            update,
            params: joined.params,
            rest: joined.rest,
            report: StepReport::of_factors(report, joined.unused),
        })
    }
}

impl FactorShard {
    /// Multiply means by the weight of the shard, and the update by a factor as well.
    fn scale(&mut self, weight: f64, factor: f64) {
        self.gradient.scale(weight * factor);
        for matrix in self.curvature.iter_mut().flatten().flatten() {
            *matrix = matrix.clone() * weight;
        }
        for rows in &mut self.rows {
            *rows = rows.take().map(|rows| rows.scaled(weight * factor));
        }
    }

    /// Add another shard, on the devices of this one.
    fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.gradient.add_all(&self.params, other.gradient);
        for (own, other) in self.curvature.iter_mut().zip(other.curvature) {
            match (own.as_mut(), other) {
                (Some(own), Some(other)) => {
                    for (own, other) in own.iter_mut().zip(other) {
                        *own = own.clone() + moved(other, &own.device());
                    }
                }
                (None, other) => *own = other,
                (Some(_), None) => {}
            }
        }
        for (own, other) in self.rows.iter_mut().zip(other.rows) {
            // Without the rows of one shard, the gradient is multiplied.
            *own = own
                .take()
                .zip(other)
                .and_then(|(own, other)| own.joined(other));
        }
        self.unused.retain(|path| other.unused.contains(path));
    }
}
