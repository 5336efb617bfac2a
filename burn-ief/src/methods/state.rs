//! What an exact method keeps from step to step: the previous update, for momentum in the solve, and
//! the running means of its metric.

use burn::module::{Module, Param, ParamId};
use burn::tensor::Tensor;

use super::metric::{MetricState, UpdateMetric};
use crate::error::Error;
use crate::host::Reads;
use crate::jacobian::Jacobian;
use crate::moves::moved;
use crate::params::{Direction, ParamInfo, find_mismatch};

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
    pub(super) metric: Option<MetricState>,
}

impl ExactState {
    /// The state before the first step, with the momentum that the method takes.
    pub(super) fn new(metric: &UpdateMetric, momentum: f64, params: &[ParamInfo]) -> Self {
        Self {
            previous: if momentum > 0.0 {
                PreviousUpdate::zeros(params)
            } else {
                PreviousUpdate::empty()
            },
            metric: (*metric != UpdateMetric::Identity).then(|| MetricState::zeros(metric, params)),
        }
    }
}

/// The previous update Δ_prev of a method with momentum in the solve, as a module of frozen
/// parameters: Burn's records save and load it.
///
/// It is what the last solve gave, before the trust region, normalisation, step size, plain momentum
/// and weight decay. It takes as much memory as the parameters that the method trains, in f32 (f64
/// for parameters in f64). Without momentum in the solve it is empty.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::prelude::*;
///
/// let model = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
/// let solve = SolveOptions::plain(Damping::default()).with_momentum(Some(0.9));
/// let optim = IefConfig::new().with_solve(solve).init(&model);
/// // One entry for each weight and bias.
/// assert_eq!(optim.state().num_params(), 8);
/// ```
#[derive(Module, Debug)]
pub struct PreviousUpdate {
    /// Flattened, one for each covered parameter in the module's order.
    entries: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    layout: Vec<ParamInfo>,
}

impl PreviousUpdate {
    /// Zeros for these parameters.
    pub(super) fn zeros(params: &[ParamInfo]) -> Self {
        let entries = params.iter().map(|param| {
            let options = (&param.device, param.update_dtype());
            let zeros = Tensor::<1>::zeros([param.len()], options);
            Param::initialized(ParamId::new(), zeros)
        });
        Self {
            entries: entries.collect(),
            layout: params.to_vec(),
        }
    }

    /// The state of a method that keeps nothing.
    pub(super) fn empty() -> Self {
        Self {
            entries: Vec::new(),
            layout: Vec::new(),
        }
    }

    /// Refuse other parameters than those that this was made for.
    fn check(&self, params: &[ParamInfo]) -> Result<(), Error> {
        match find_mismatch(params, &self.layout) {
            Some((expected, found)) => Err(Error::ForeignState {
                state: "previous update",
                expected,
                found,
            }),
            None => Ok(()),
        }
    }

    /// Δ_prev, on the devices of the rows.
    pub(super) fn direction(&self, jacobian: &Jacobian) -> Result<Direction, Error> {
        self.check(jacobian.params())?;
        let mut direction = Direction::default();
        for (param, entry) in jacobian.params().iter().zip(&self.entries) {
            direction.add(param.id, moved(entry.val(), &param.device));
        }
        Ok(direction)
    }

    /// Keep `Δ = μΔ_prev + δ`, and return it.
    pub(super) fn advance(
        self,
        params: &[ParamInfo],
        mut added: Direction,
        momentum: f64,
    ) -> Result<(Self, Direction), Error> {
        self.check(params)?;
        let unused: Vec<bool> = params.iter().map(|p| added.get(p.id).is_none()).collect();
        let zero = self.are_zero(&unused)?;
        let mut update = Direction::default();
        let mut entries = Vec::with_capacity(self.entries.len());
        for ((entry, param), zero) in self.entries.into_iter().zip(params).zip(zero) {
            let added = added.remove(param.id);
            entries.push(entry.map(|previous| {
                let next = match added {
                    Some(added) => {
                        let added = moved(added, &previous.device());
                        let dtype = previous.dtype();
                        previous * momentum + added.cast(dtype)
                    }
                    // A parameter that no batch has used yet gets no update at all: one of zero
                    // would let weight decay move it.
                    None if zero => return previous,
                    None => previous * momentum,
                };
                update.add(param.id, next.clone());
                next
            }));
        }
        let state = Self {
            entries,
            layout: self.layout,
        };
        Ok((state, update))
    }

    /// Whether each of the chosen entries is zero, from one read; `false` for the others.
    fn are_zero(&self, chosen: &[bool]) -> Result<Vec<bool>, Error> {
        let mut reads = Reads::default();
        let entries = self.entries.iter().zip(chosen);
        let counts = entries.map(|(entry, chosen)| {
            chosen.then(|| {
                let count = entry.val().not_equal_elem(0.0).int().sum();
                reads.int(count)
            })
        });
        let counts: Vec<_> = counts.collect();
        let values = reads.execute()?;
        let counts = counts.into_iter();
        Ok(counts
            .map(|count| count.is_some_and(|count| values.int(count) == [0]))
            .collect())
    }
}
