//! What every port has.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use crate::batch::Batch;

/// One of Burn's examples, with a recorded form.
///
/// ```
/// use burn::tensor::Device;
/// use burn_ief::prelude::*;
/// use ports::{Form, Port, SimpleRegression};
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model = SimpleRegression::model(Form::Recorded, &device);
/// let batch = SimpleRegression::random_batch(32, &device);
/// let before = SimpleRegression::evaluate(&model, batch.clone()).loss;
/// let mut optim = IefConfig::new().init(&model);
/// for _ in 0..3 {
///     model = optim.step_closure(1.0, model, |model| {
///         SimpleRegression::loss_recorded(model, batch.clone())
///     })?;
/// }
/// assert!(SimpleRegression::evaluate(&model, batch).loss < before);
/// # Ok::<(), burn_ief::Error>(())
/// ```
pub trait Port {
    /// The example's model.
    type Model: Module;
    /// What it is trained on.
    type Batch: Batch;

    /// The example's folder in Burn's repository.
    const NAME: &'static str;
    /// The example's batch size.
    const BATCH: usize;
    /// Whether it is a classifier, of which the share of right answers is known.
    const CLASSIFIES: bool;

    /// A new model of the example's sizes on an autodiff device.
    fn model(form: Form, device: &Device) -> Self::Model;

    /// Random data of the sizes that the example has.
    fn random_batch(samples: usize, device: &Device) -> Self::Batch;

    /// The mean loss by Burn's own layers, as in the example.
    fn loss(model: &Self::Model, batch: Self::Batch) -> Tensor<1>;

    /// The same by recorded layers, with the output marked.
    fn loss_recorded(model: &Self::Model, batch: Self::Batch) -> Tensor<1>;

    /// The loss of a batch of one sample, of which the losses of larger batches are averages, as one
    /// backward pass per sample takes it.
    fn loss_of_sample(model: &Self::Model, batch: Self::Batch) -> Tensor<1> {
        Self::loss(model, batch)
    }

    /// What the example does to the model after a step.
    fn after_step(model: Self::Model) -> Self::Model {
        model
    }

    /// How well a model does, with dropout off.
    fn evaluate(model: &Self::Model, batch: Self::Batch) -> Evaluation;
}

/// Which of the two forms of an example a model is made for. Both have the same layers, but for BatchNorm, which
/// no recording can take in training mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As in Burn's example.
    Burn,
    /// For a natural-gradient method.
    Recorded,
}

/// Sums over a batch, which add up over batches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Evaluation {
    /// Summed losses.
    pub loss: f64,
    /// Right answers, of a classifier.
    pub right: usize,
    /// Number of losses.
    pub count: usize,
}

impl Evaluation {
    /// Of logits `[N, C]` and labels `[N]`; those equal to `pad` do not count.
    pub(crate) fn of_classes(
        logits: Tensor<2>,
        labels: Tensor<1, Int>,
        pad: Option<usize>,
    ) -> Self {
        let log_probabilities = burn::tensor::activation::log_softmax(logits.clone(), 1);
        let chosen = log_probabilities.gather(1, labels.clone().unsqueeze_dim(1));
        let hit = logits.argmax(1).squeeze_dim::<1>(1).equal(labels.clone());
        let counted = match pad {
            Some(pad) => labels.clone().not_equal_elem(pad as i64),
            None => labels.clone().equal(labels),
        };
        let weights = counted.clone().float();
        Self {
            loss: -number((chosen.squeeze_dim::<1>(1) * weights).sum()),
            right: whole(hit.bool_and(counted.clone()).int().sum()),
            count: whole(counted.int().sum()),
        }
    }

    /// Of predictions and targets, `[M, 1]` each: squared errors.
    pub(crate) fn of_numbers(predicted: Tensor<2>, targets: Tensor<2>) -> Self {
        Self {
            count: targets.dims()[0],
            right: 0,
            loss: number((predicted - targets).square().sum()),
        }
    }

    /// Of losses `[M, 1]`.
    pub(crate) fn of_losses(losses: Tensor<2>) -> Self {
        Self {
            count: losses.dims()[0],
            right: 0,
            loss: number(losses.sum()),
        }
    }

    /// The mean loss.
    pub fn mean_loss(self) -> f64 {
        self.loss / self.count.max(1) as f64
    }

    /// Share of right answers.
    pub fn accuracy(self) -> f64 {
        self.right as f64 / self.count.max(1) as f64
    }
}

impl std::ops::Add for Evaluation {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            loss: self.loss + other.loss,
            right: self.right + other.right,
            count: self.count + other.count,
        }
    }
}

fn number(x: Tensor<1>) -> f64 {
    x.into_data().iter::<f64>().next().unwrap_or(f64::NAN)
}

fn whole(x: Tensor<1, Int>) -> usize {
    x.into_data().iter::<i64>().next().unwrap_or(0) as usize
}

/// Labels 0, 1, …, in turn.
pub(crate) fn labels_in_turn(samples: usize, classes: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::arange(0..samples as i64, device).remainder_scalar(classes as i64)
}
