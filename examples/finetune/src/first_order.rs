//! Two things that Burn's steps of first-order optimizers do not do: the mean over all batches of a step, and clipping.

use std::sync::{Arc, Mutex, PoisonError};

use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::{Module, ModuleDisplay, ModuleVisitor, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use crate::config::TrainingOptions;
use crate::model::Outcome;

/// Added to a norm before it divides, as in PyTorch's `clip_grad_norm_`.
const TINY: f64 = 1e-6;

/// A model that a first-order optimizer trains.
///
/// Burn's learner adds up the gradients of accumulated batches. Each is that of a mean over its own samples (or tokens),
/// of which batches have different numbers: weighted with these and divided by their sum they are the gradient of the
/// mean over all. The gradient is then clipped by its norm over all parameters.
#[derive(Module, Debug)]
pub(crate) struct FirstOrder<M> {
    model: M,
    #[module(skip)]
    options: Options,
}

#[derive(Debug, Clone)]
struct Options {
    accumulates: bool,
    clip_norm: Option<f64>,
    /// Weights of the batches of this step, which the clones of the model share.
    weights: Arc<Mutex<Vec<f64>>>,
}

impl<M> FirstOrder<M> {
    pub fn new(model: M, training: &TrainingOptions) -> Self {
        let options = Options {
            accumulates: training.accumulation > 1,
            clip_norm: training.clip_norm,
            weights: Arc::default(),
        };
        Self { model, options }
    }

    pub fn model(&self) -> &M {
        &self.model
    }
}

impl<M> TrainStep for FirstOrder<M>
where
    M: Module + ModuleDisplay + TrainStep<Output = Outcome>,
{
    type Input = M::Input;
    type Output = Outcome;

    fn step(&self, batch: M::Input) -> TrainOutput<Outcome> {
        let mut output = TrainStep::step(&self.model, batch);
        if self.options.accumulates {
            let weight = output.item.weight() as f64;
            output.grads = scaled(&self.model, output.grads, weight);
            let weights = self.options.weights.lock();
            let mut weights = weights.unwrap_or_else(PoisonError::into_inner);
            weights.push(weight);
        }
        output
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        mut grads: GradientsParams,
    ) -> Self {
        let Self { model, options } = self;
        if options.accumulates {
            let weights = options.weights.lock();
            let mut weights = weights.unwrap_or_else(PoisonError::into_inner);
            let all: f64 = std::mem::take(&mut *weights).iter().sum();
            drop(weights);
            grads = scaled(&model, grads, 1.0 / all.max(1.0));
        }
        if let Some(most) = options.clip_norm {
            let norm = norm(&model, &grads);
            // A norm that is not finite makes no factor: the loss says so in the next step.
            if norm + TINY > most {
                grads = scaled(&model, grads, most / (norm + TINY));
            }
        }
        Self {
            model: model.optimize(optim, lr, grads),
            options,
        }
    }
}

impl<M: Module + InferenceStep> InferenceStep for FirstOrder<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, batch: M::Input) -> M::Output {
        InferenceStep::step(&self.model, batch)
    }
}

/// The gradients of a model's parameters times a factor.
fn scaled<M: Module>(model: &M, grads: GradientsParams, factor: f64) -> GradientsParams {
    struct Scale {
        grads: GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.remove::<D>(param.id) {
                self.grads
                    .register::<D>(param.id, grad.mul_scalar(self.factor));
            }
        }
    }
    let mut scale = Scale { grads, factor };
    model.visit(&mut scale);
    scale.grads
}

/// The norm of the gradients of all parameters.
fn norm<M: Module>(model: &M, grads: &GradientsParams) -> f64 {
    struct Squares<'a> {
        grads: &'a GradientsParams,
        sum: Option<Tensor<1>>,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(grad) = self.grads.get::<D>(param.id) {
                let square = grad.square().sum();
                self.sum = Some(match self.sum.take() {
                    Some(sum) => sum + square,
                    None => square,
                });
            }
        }
    }
    let mut squares = Squares { grads, sum: None };
    model.visit(&mut squares);
    let square: f64 = squares
        .sum
        .map_or(0.0, |sum| sum.into_scalar::<f32>().into());
    square.sqrt()
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::{GradientsAccumulator, SgdConfig};
    use burn::tensor::{Device, Int};

    use super::*;

    #[derive(Module, Debug)]
    struct Net {
        layer: Linear,
    }

    type Batch = (Tensor<2>, Tensor<1, Int>);

    impl TrainStep for Net {
        type Input = Batch;
        type Output = Outcome;

        fn step(&self, (x, labels): Batch) -> TrainOutput<Outcome> {
            let outcome = Outcome::classified(self.layer.forward(x), labels);
            let grads = outcome.loss.backward();
            TrainOutput::new(self, grads, outcome)
        }
    }

    fn batches(device: &Device) -> [Batch; 2] {
        let x = |rows: Vec<[f64; 2]>| {
            let count = rows.len();
            let flat: Vec<f64> = rows.into_iter().flatten().collect();
            Tensor::from_data(burn::tensor::TensorData::new(flat, [count, 2]), device)
        };
        [
            (
                x(vec![[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]]),
                Tensor::from_data([0, 1, 2], device),
            ),
            (x(vec![[-2.0, 1.0]]), Tensor::from_data([1], device)),
        ]
    }

    fn step(model: Net, batches: Vec<Batch>, training: &TrainingOptions) -> Tensor<2> {
        let model = FirstOrder::new(model, training);
        let mut accumulator = GradientsAccumulator::new();
        for batch in batches {
            let output = TrainStep::step(&model, batch);
            accumulator.accumulate(&model, output.grads);
        }
        let grads = accumulator.grads();
        let mut optim = SgdConfig::new().init();
        let model = model.optimize(&mut optim, 1.0.into(), grads);
        model.model().layer.weight.val()
    }

    #[test]
    fn accumulated_batches_make_the_step_of_one_and_norms_are_clipped() {
        let device = Device::flex().autodiff();
        let net = Net {
            layer: LinearConfig::new(2, 3).init(&device),
        };
        let mut training = TrainingOptions::default();
        let [first, second] = batches(&device);
        let joined = (
            Tensor::cat(vec![first.0.clone(), second.0.clone()], 0),
            Tensor::cat(vec![first.1.clone(), second.1.clone()], 0),
        );
        let before = net.layer.weight.val();
        let whole = step(net.clone(), vec![joined.clone()], &training);
        training.accumulation = 2;
        let parts = step(net.clone(), vec![first, second], &training);
        let difference = |a: &Tensor<2>, b: &Tensor<2>| {
            let difference = (a.clone() - b.clone()).square().sum();
            difference.into_scalar::<f32>().sqrt()
        };
        assert!(difference(&whole, &parts) < 1e-6);
        assert!(difference(&whole, &before) > 0.1);

        // The step of plain SGD at step size 1 is the gradient: weight and bias together have the norm.
        training.accumulation = 1;
        training.clip_norm = Some(1e-3);
        let clipped = step(net.clone(), vec![joined.clone()], &training);
        let found = difference(&clipped, &before);
        assert!(found < 1e-3 && found > 0.5e-3, "{found}");
        training.clip_norm = Some(1e3);
        let unclipped = step(net, vec![joined], &training);
        assert!(difference(&whole, &unclipped) < 1e-6);
    }
}
