//! What every task has.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_flex_fused::cross_entropy;
use burn_ief::record::Likelihood;
use burn_ief::{mark_output, mark_output_as};

use crate::data::{Rows, Split, Targets};
use crate::definition::Definition;
use crate::error::Error;

/// Rows that are evaluated at once.
const CHUNK: usize = 128;

/// Data, a model, and what its outputs mean.
pub trait Task {
    /// The rows.
    type Rows: Rows;
    /// The model.
    type Model: Module;

    /// What it is, in numbers.
    const DEFINITION: Definition;

    /// Read the rows from the folder of data.
    ///
    /// # Errors
    ///
    /// [`Error::Data`].
    fn rows(folder: &Path) -> Result<Split<Self::Rows>, Error>;

    /// A new model with random parameters, from the generator of the device.
    ///
    /// # Errors
    ///
    /// [`Error::Data`] for a pretrained model that is missing or damaged.
    fn model(folder: &Path, device: &Device) -> Result<Self::Model, Error>;

    /// Logits `[M, classes]`, or predicted numbers `[M, 1]`, by recorded calls.
    fn outputs(model: &Self::Model, inputs: <Self::Rows as Rows>::Inputs) -> Tensor<2>;

    /// The error of data that cannot be used.
    fn refuse(problem: impl std::fmt::Display) -> Error {
        Error::data(Self::DEFINITION.name, Self::DEFINITION.folders, problem)
    }
}

/// The loss of each sample, `[M]`, with the output marked for the natural-gradient methods: the cross-entropy of
/// classes, or half the squared error of numbers, which is the negative log-likelihood of a Gaussian up to a
/// constant.
pub fn losses(outputs: Tensor<2>, targets: &Targets) -> Tensor<1> {
    match targets {
        Targets::Classes(classes) => cross_entropy(mark_output(outputs), classes.clone(), None),
        Targets::Values(values) => {
            let outputs = mark_output_as(outputs, Likelihood::Gaussian);
            let squares = (outputs - values.clone()).square();
            squares.sum_dim(1).squeeze_dim::<1>(1) * 0.5
        }
    }
}

/// Loss and score over rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// The mean loss of a row.
    pub loss: f64,
    /// Share of right classes, or R².
    pub score: f64,
}

/// Loss and score of a model on the first `count` rows.
pub fn evaluate<T: Task>(
    model: &T::Model,
    rows: &T::Rows,
    count: usize,
    device: &Device,
) -> Evaluation {
    let model = model.valid();
    let device = device.clone().inner();
    let places: Vec<usize> = (0..count.min(rows.count())).collect();
    let mut sums = Sums::default();
    for places in places.chunks(CHUNK) {
        let (inputs, targets) = rows.batch(places, &device);
        sums.add(T::outputs(&model, inputs), &targets);
    }
    sums.evaluation()
}

/// Sums over rows.
#[derive(Debug, Default)]
struct Sums {
    count: f64,
    loss: f64,
    right: f64,
    target: f64,
    target_square: f64,
    numbers: bool,
}

impl Sums {
    fn add(&mut self, outputs: Tensor<2>, targets: &Targets) {
        match targets {
            Targets::Classes(classes) => {
                let found = outputs.clone().argmax(1).squeeze_dim::<1>(1);
                let right = found.equal(classes.clone()).int().sum();
                self.right += right.into_data().iter::<f64>().sum::<f64>();
            }
            Targets::Values(values) => {
                self.numbers = true;
                for value in values.to_data().iter::<f64>() {
                    self.target += value;
                    self.target_square += value * value;
                }
            }
        }
        for loss in losses(outputs, targets).into_data().iter::<f64>() {
            self.loss += loss;
            self.count += 1.0;
        }
    }

    fn evaluation(&self) -> Evaluation {
        let score = if self.numbers {
            let spread = self.target_square - self.target * self.target / self.count;
            1.0 - 2.0 * self.loss / spread
        } else {
            self.right / self.count
        };
        Evaluation {
            loss: self.loss / self.count,
            score,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Int;

    use super::*;

    #[test]
    fn classes_are_scored_by_their_share() {
        let device = Device::flex();
        let logits = Tensor::from_data([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0]], &device);
        let classes = Tensor::<1, Int>::from_data([0, 1, 1], &device);
        let mut sums = Sums::default();
        sums.add(logits, &Targets::Classes(classes));
        let evaluation = sums.evaluation();
        assert!((evaluation.score - 2.0 / 3.0).abs() < 1e-9);
        let expected = (2f64.ln() + (1.0 + (-4f64).exp()).ln() + (1.0 + 4f64.exp()).ln()) / 3.0;
        assert!((evaluation.loss - expected).abs() < 1e-6, "{evaluation:?}");
    }

    #[test]
    fn numbers_are_scored_by_the_explained_variance() {
        let device = Device::flex();
        let mut sums = Sums::default();
        // In two batches, against the formula over all three.
        for (found, target) in [(vec![1.0, 2.5], vec![1.0, 2.0]), (vec![5.0], vec![6.0])] {
            let column = |values: Vec<f32>| {
                Tensor::<1>::from_floats(values.as_slice(), &device).unsqueeze_dim::<2>(1)
            };
            sums.add(column(found), &Targets::Values(column(target)));
        }
        let evaluation = sums.evaluation();
        assert!((evaluation.loss - (0.25 + 1.0) / 6.0).abs() < 1e-6);
        let spread = 4.0 + 1.0 + 9.0;
        assert!(
            (evaluation.score - (1.0 - 1.25 / spread)).abs() < 1e-6,
            "{evaluation:?}"
        );
    }
}
