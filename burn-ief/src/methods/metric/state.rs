//! What a metric keeps from step to step.

use std::collections::HashMap;

use burn::module::{Module, Param, ParamId};
use burn::tensor::Tensor;

use super::UpdateMetric;
use crate::error::Error;
use crate::jacobian::Scaling;
use crate::params::{ParamInfo, find_mismatch};

/// Added to the running mean of an entry, as a share of the mean of all.
const FLOOR: f64 = 1e-6;

/// The running means of a metric, as a module of frozen parameters: Burn's records save and load it.
///
/// They start at zero. The identity keeps nothing.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_ief::methods::{RunningSquares, UpdateMetric};
/// use burn_ief::prelude::*;
///
/// let model = LinearConfig::new(5, 3).init(&Device::flex().autodiff());
/// let metric = UpdateMetric::Separable(RunningSquares::default());
/// let optim = EfConfig::new().with_solve(SolveOptions::new().with_metric(Some(metric))).init(&model);
/// // Rows and columns of the weight, and the bias as one row of three columns.
/// assert_eq!(optim.state().num_params(), (5 + 3) + (1 + 3));
/// ```
#[derive(Module, Debug)]
pub struct MetricState {
    /// What the metric keeps of each covered parameter, in the module's order.
    means: Vec<Param<Tensor<1>>>,
    #[module(skip)]
    layout: Vec<ParamInfo>,
}

impl MetricState {
    /// Zeros for these parameters.
    pub(crate) fn zeros(metric: &UpdateMetric, params: &[ParamInfo]) -> Self {
        let Some(((kept, _), first)) = metric.running().zip(params.first()) else {
            return Self {
                means: Vec::new(),
                layout: Vec::new(),
            };
        };
        // Where the rows are: see `Part`.
        let options = (&first.device, first.update_dtype());
        let lengths = params.iter().flat_map(|param| kept.lengths(param.matrix()));
        let means = lengths.map(|length| {
            let zeros = Tensor::<1>::zeros([length], options);
            Param::initialized(ParamId::new(), zeros)
        });
        Self {
            means: means.collect(),
            layout: params.to_vec(),
        }
    }

    /// Add the squares of a step, sums over this many samples, and return the metric of the step.
    pub(crate) fn advance(
        self,
        metric: &UpdateMetric,
        params: &[ParamInfo],
        mut sums: HashMap<ParamId, Vec<Tensor<1>>>,
        samples: usize,
    ) -> Result<(Self, Scaling), Error> {
        let Some((kept, running)) = metric.running() else {
            return Ok((self, Scaling::default()));
        };
        if let Some((expected, found)) = find_mismatch(params, &self.layout) {
            return Err(Error::ForeignState {
                state: "running means of the metric",
                expected,
                found,
            });
        }
        let share = (1.0 - running.decay) / samples.max(1) as f64;
        let mut old = self.means.into_iter();
        let mut means = Vec::new();
        let mut own: Vec<Vec<Tensor<1>>> = Vec::with_capacity(params.len());
        for param in params {
            let shape = param.matrix();
            let mut added = sums
                .remove(&param.id)
                .map(|sums| kept.means(sums, shape).into_iter());
            let mut values = Vec::new();
            for _ in kept.lengths(shape) {
                let old = old.next().expect("as many vectors as the layout has");
                let added = added.as_mut().and_then(Iterator::next);
                means.push(old.map(|old| {
                    let kept = old * running.decay;
                    let mean = match added {
                        Some(added) => {
                            let added = added.to_device(&kept.device()).cast(kept.dtype());
                            kept + added * share
                        }
                        None => kept,
                    };
                    values.push(mean.clone());
                    mean
                }));
            }
            own.push(values);
        }
        let state = Self {
            means,
            layout: self.layout,
        };

        // The mean over all entries of all parameters, 1 if there is nothing yet.
        let entries: usize = params.iter().map(ParamInfo::len).sum();
        let totals = params.iter().zip(&own);
        let totals = totals.map(|(param, means)| means[0].clone().mean() * param.len() as f64);
        let Some(total) = totals.reduce(|a, b| a + b) else {
            return Ok((state, Scaling::default()));
        };
        let mean = total / entries.max(1) as f64;
        let mean = mean.clone().mask_fill(mean.equal_elem(0.0), 1.0);

        let mut scaling = Scaling::default();
        for (param, means) in params.iter().zip(own) {
            let relative = means.into_iter().map(|x| x / mean.clone() + FLOOR);
            scaling.set(param.id, kept.scale(relative.collect(), running.power));
        }
        Ok((state, scaling))
    }
}
