//! What a model makes of a batch, and how that is judged.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::activation::log_softmax;
use burn::tensor::{ExecutionError, Int, Tensor, TensorData};
use burn::train::metric::{AccuracyInput, Adaptor, LossInput};
use burn::train::{ItemLazy, TrainOutput};
use burn_flex_fused::cross_entropy;
use burn_ief::train::train_output;
use burn_ief::{LossScale, declare_loss_scale};
use programs::learner::WithLoss;

use crate::data::{LabelBatch, NO_TAG, NumberScale};
use crate::metric::Pairs;
use crate::problem::Problem;

/// What a model makes of a batch of M samples.
///
/// ```
/// use burn::tensor::{Device, Int, Tensor};
/// use finetune::metric::Pairs;
/// use finetune::model::Outcome;
///
/// let logits = Tensor::<2>::from_data([[2.0, 0.0], [3.0, 1.0]], &Device::flex());
/// let labels = Tensor::<1, Int>::from_data([0, 1], &Device::flex());
/// let outcome = Outcome::classified(logits, labels);
/// assert_eq!(outcome.pairs(), Pairs::Classes(vec![(0, 0), (0, 1)]));
/// ```
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Mean of the losses of samples, or of words with tags, or of tokens in language models, `[1]`.
    pub loss: Tensor<1>,
    /// What was predicted.
    pub answered: Answered,
}

/// What a model predicted, and what would have been right.
#[derive(Debug, Clone)]
pub enum Answered {
    /// A class for each sample.
    Classes {
        /// Predicted classes, `[M]`; absent in the training of models that answer in words.
        predicted: Option<Tensor<1, Int>>,
        /// True classes, `[M]`.
        labels: Tensor<1, Int>,
    },
    /// Any number of labels for each sample.
    Sets {
        /// 1 where a label is predicted, `[M, L]`.
        predicted: Tensor<2, Int>,
        /// 1 where it is right, `[M, L]`.
        labels: Tensor<2, Int>,
    },
    /// A number for each sample.
    Numbers {
        /// As they are learned, `[M]`.
        predicted: Tensor<1>,
        /// As they are learned, `[M]`.
        labels: Tensor<1>,
        /// From there to the numbers of the data.
        scale: NumberScale,
    },
    /// A tag for each word.
    Tags {
        /// At every token, `[M, T]`.
        predicted: Tensor<2, Int>,
        /// −100 where there is none, `[M, T]`.
        labels: Tensor<2, Int>,
        /// Tokens with a tag.
        tokens: usize,
    },
    /// The next token at every trained token.
    Tokens {
        /// Right predictions of each sample, `[M]`.
        correct: Tensor<1>,
        /// Trained tokens of the batch.
        tokens: usize,
    },
}

impl Outcome {
    /// Cross-entropy and prediction of logits `[M, C]`, both marked for the natural-gradient
    /// methods.
    pub fn classified(logits: Tensor<2>, labels: Tensor<1, Int>) -> Self {
        let logits = burn_ief::mark_output(logits);
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = cross_entropy.forward(logits.clone(), labels.clone());
        let predicted = logits.without_autodiff().argmax(1).squeeze_dim(1);
        Self {
            loss: burn_ief::mark_loss(loss),
            answered: Answered::Classes {
                predicted: Some(predicted),
                labels,
            },
        }
    }

    /// Loss and predictions of logits `[M, P, C]` of an encoder with a head, all marked for the natural-gradient methods:
    /// P is 1, or the number of tokens where each has a tag. Numbers are in `scale`.
    ///
    /// # Panics
    ///
    /// Panics if the labels are not those of the problem.
    pub fn of_head(
        problem: Problem,
        logits: Tensor<3>,
        labels: LabelBatch,
        scale: NumberScale,
    ) -> Self {
        match (problem, labels) {
            (Problem::SingleLabel, LabelBatch::Classes(labels)) => {
                Self::classified(logits.squeeze_dim(1), labels)
            }
            (Problem::MultiLabel, LabelBatch::Sets(labels)) => {
                Self::labelled(logits.squeeze_dim(1), labels)
            }
            (Problem::Regression, LabelBatch::Numbers(labels)) => {
                // One value for each sample, whatever the size of the batch.
                let outputs = logits.squeeze_dim::<2>(2).squeeze_dim(1);
                Self::measured(outputs, labels, scale)
            }
            (Problem::Tokens, LabelBatch::Tags(labels)) => Self::tagged(logits, labels),
            (problem, labels) => panic!("labels of {problem:?} expected, found {labels:?}"),
        }
    }

    /// The sum over labels of their binary cross-entropies, and the labels whose probability is above ½.
    fn labelled(logits: Tensor<2>, labels: Tensor<2, Int>) -> Self {
        let logits = burn_ief::mark_output_as(logits, Problem::MultiLabel.likelihood());
        let [samples, count] = logits.dims();
        let predicted = logits.clone().without_autodiff().greater_elem(0).int();
        // A sigmoid is a softmax over (0, z).
        let logits: Tensor<3> = logits.unsqueeze_dim(2);
        let pairs = log_softmax(Tensor::cat(vec![logits.zeros_like(), logits], 2), 2);
        let cells: Tensor<2> = pairs
            .gather(2, labels.clone().unsqueeze_dim(2))
            .reshape([samples, count]);
        Self {
            loss: burn_ief::mark_mean_loss(cells.sum_dim(1).squeeze_dim(1).neg()),
            answered: Answered::Sets { predicted, labels },
        }
    }

    /// Half the squared difference: the loss of a Gaussian of unit variance, in the scale of the numbers.
    fn measured(outputs: Tensor<1>, labels: Tensor<1>, scale: NumberScale) -> Self {
        let outputs = burn_ief::mark_output_as(outputs, Problem::Regression.likelihood());
        let difference = outputs.clone() - labels.clone().cast(outputs.dtype());
        Self {
            loss: burn_ief::mark_mean_loss(difference.square() * 0.5),
            answered: Answered::Numbers {
                predicted: outputs.without_autodiff(),
                labels,
                scale,
            },
        }
    }

    /// The mean over words of the cross-entropy of their tags.
    fn tagged(logits: Tensor<3>, labels: Tensor<2, Int>) -> Self {
        let tokens = labels.clone().greater_equal_elem(0).int().sum();
        let tokens = tokens.into_scalar::<i64>() as usize;
        let own = logits.clone().without_autodiff();
        let predicted = own.narrow(0, 0, labels.dims()[0]);
        let predicted = predicted.argmax(2).squeeze_dim(2);
        let factor = 1.0 / tokens.max(1) as f64;
        declare_loss_scale(LossScale::Factor(factor));
        Self {
            loss: burn_ief::mark_loss(tag_losses(logits, labels.clone()).sum() * factor),
            answered: Answered::Tags {
                predicted,
                labels,
                tokens,
            },
        }
    }

    /// Predictions next to what would have been right; none where nothing was predicted. Of each token of a language
    /// model `(1, 1)` where it was predicted, and otherwise `(0, 1)`.
    pub fn pairs(&self) -> Pairs {
        match &self.answered {
            Answered::Classes {
                predicted: Some(predicted),
                labels,
            } => {
                let [predicted, labels] = [predicted, labels].map(|classes| whole(classes.clone()));
                let pairs = predicted.into_iter().zip(labels);
                Pairs::Classes(pairs.map(|(p, t)| (p as usize, t as usize)).collect())
            }
            Answered::Classes {
                predicted: None, ..
            } => Pairs::default(),
            Answered::Sets { predicted, labels } => {
                let [_, count] = labels.dims();
                let [predicted, labels] = [predicted, labels].map(|sets| {
                    let cells = whole(sets.clone()).into_iter().map(|cell| cell == 1);
                    cells.collect::<Vec<bool>>()
                });
                let [predicted, labels] =
                    [&predicted, &labels].map(|cells| cells.chunks(count.max(1)));
                let rows = predicted.zip(labels);
                Pairs::LabelSets(rows.map(|(p, t)| (p.to_vec(), t.to_vec())).collect())
            }
            Answered::Numbers {
                predicted,
                labels,
                scale,
            } => {
                let [predicted, labels] = [predicted, labels].map(|numbers| {
                    let numbers = numbers.clone().into_data();
                    let numbers = numbers.iter::<f64>();
                    numbers
                        .map(|number| scale.undo(number))
                        .collect::<Vec<f64>>()
                });
                Pairs::Numbers(predicted.into_iter().zip(labels).collect())
            }
            Answered::Tags {
                predicted, labels, ..
            } => {
                let [_, length] = labels.dims();
                let [predicted, labels] = [predicted, labels].map(|tags| whole(tags.clone()));
                let rows = predicted
                    .chunks(length.max(1))
                    .zip(labels.chunks(length.max(1)));
                let row = |(predicted, labels): (&[i64], &[i64])| {
                    let tagged = predicted.iter().zip(labels).filter(|(_, tag)| **tag >= 0);
                    tagged.map(|(p, t)| (*p as usize, *t as usize)).unzip()
                };
                Pairs::Tags(rows.map(row).collect())
            }
            Answered::Tokens { correct, tokens } => {
                let correct = correct.clone().sum().into_scalar::<f32>().round() as usize;
                let wrong = tokens.saturating_sub(correct);
                let pairs = std::iter::repeat_n((1, 1), correct);
                Pairs::Classes(pairs.chain(std::iter::repeat_n((0, 1), wrong)).collect())
            }
        }
    }

    /// What the loss is a mean over: samples, words with tags, or tokens of language models.
    pub fn weight(&self) -> usize {
        match &self.answered {
            Answered::Classes { labels, .. } => labels.dims()[0],
            Answered::Sets { labels, .. } => labels.dims()[0],
            Answered::Numbers { labels, .. } => labels.dims()[0],
            Answered::Tags { tokens, .. } | Answered::Tokens { tokens, .. } => *tokens,
        }
    }

    /// The end of a training step.
    pub(super) fn trained<M: Module>(self, module: &M) -> TrainOutput<Self> {
        let grads = self.loss.backward();
        train_output(module, grads, self)
    }
}

/// The loss of each sample, summed over its words with tags (−100 where there is none), `[M]`, of logits `[M, T, C]`, which
/// are marked.
pub(super) fn tag_losses(logits: Tensor<3>, labels: Tensor<2, Int>) -> Tensor<1> {
    let [samples, length] = labels.dims();
    let [.., classes] = logits.dims();
    // Where there is no tag logits are no output: drawn labels have no gradient there.
    let real = labels.clone().greater_equal_elem(0).float();
    let real = burn_ief::expand_input(real).cast(logits.dtype());
    let logits =
        burn_ief::mark_output_as(logits * real.unsqueeze_dim(2), Problem::Tokens.likelihood());
    let flat: Tensor<2> = logits.reshape([samples * length, classes]);
    let losses = cross_entropy(flat, labels.reshape([samples * length]), Some(NO_TAG));
    losses.reshape([samples, length]).sum_dim(1).squeeze_dim(1)
}

impl WithLoss for Outcome {
    fn loss(&self) -> Tensor<1> {
        self.loss.clone()
    }
}

impl ItemLazy for Outcome {
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().flush()?;
        Ok(Self {
            loss: self.loss.without_autodiff(),
            answered: match self.answered {
                Answered::Classes { predicted, labels } => Answered::Classes {
                    predicted: predicted.map(Tensor::without_autodiff),
                    labels: labels.without_autodiff(),
                },
                Answered::Sets { predicted, labels } => Answered::Sets {
                    predicted: predicted.without_autodiff(),
                    labels: labels.without_autodiff(),
                },
                Answered::Numbers {
                    predicted,
                    labels,
                    scale,
                } => Answered::Numbers {
                    predicted: predicted.without_autodiff(),
                    labels: labels.without_autodiff(),
                    scale,
                },
                Answered::Tags {
                    predicted,
                    labels,
                    tokens,
                } => Answered::Tags {
                    predicted: predicted.without_autodiff(),
                    labels: labels.without_autodiff(),
                    tokens,
                },
                Answered::Tokens { correct, tokens } => Answered::Tokens {
                    correct: correct.without_autodiff(),
                    tokens,
                },
            },
        })
    }
}

/// Whole numbers on the host.
fn whole<const D: usize>(values: Tensor<D, Int>) -> Vec<i64> {
    values
        .into_data()
        .try_into_vec_as::<i64>()
        .unwrap_or_default()
}

impl Adaptor<LossInput> for Outcome {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<AccuracyInput> for Outcome {
    /// Pairs of classes; of other predictions none, for which the learner has no such metric.
    fn adapt(&self) -> AccuracyInput {
        let (predicted, labels): (Tensor<1, Int>, Tensor<1, Int>) = match &self.answered {
            Answered::Classes { predicted, labels } => {
                let predicted = predicted.clone().unwrap_or_else(|| labels.clone());
                (predicted, labels.clone())
            }
            _ => {
                let pairs = match self.pairs() {
                    Pairs::Classes(pairs) => pairs,
                    Pairs::Tags(rows) => {
                        let words = rows.into_iter().flat_map(|(p, t)| p.into_iter().zip(t));
                        words.collect()
                    }
                    _ => vec![(0, 0)],
                };
                let column = |of: fn(&(usize, usize)) -> usize| {
                    let values: Vec<i64> = pairs.iter().map(|pair| of(pair) as i64).collect();
                    Tensor::from_data(TensorData::new(values, [pairs.len()]), &self.loss.device())
                };
                (column(|pair| pair.0), column(|pair| pair.1))
            }
        };
        // The metric looks for the largest entry of each row.
        let classes = predicted.clone().max().into_scalar::<i64>() as usize + 1;
        let rows: Tensor<2, Int> = predicted.one_hot(classes.max(2));
        AccuracyInput::new(rows.float(), labels)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn number(loss: Tensor<1>) -> f64 {
        loss.into_scalar::<f32>().into()
    }

    #[test]
    fn labels_are_independent_of_each_other() {
        let device = Device::flex();
        // Issue reports of other libraries: sigmoid each, labels 0 and 2.
        let logits = Tensor::<3>::from_data([[[3.0, -2.0, 4.0]]], &device);
        let labels = LabelBatch::Sets(Tensor::from_data([[1, 0, 1]], &device));
        let scale = NumberScale::default();
        let outcome = Outcome::of_head(Problem::MultiLabel, logits, labels, scale);
        let expected: f64 = [3f64, 2.0, 4.0]
            .iter()
            .map(|z| (1.0 + (-z).exp()).ln())
            .sum();
        assert!((number(outcome.loss.clone()) - expected).abs() < 1e-6);
        let set = vec![true, false, true];
        assert_eq!(outcome.pairs(), Pairs::LabelSets(vec![(set.clone(), set)]));
    }

    #[test]
    fn numbers_are_compared_in_pairs_whatever_the_size_of_the_batch() {
        let device = Device::flex();
        let scale = NumberScale::of([0.0, 2.0].into_iter()).unwrap();
        for samples in [1, 3] {
            let logits = Tensor::<1>::from_data([0.1, 0.5, 0.9], &device);
            let logits = logits.narrow(0, 0, samples).reshape([samples, 1, 1]);
            let labels = Tensor::<1>::from_data([0.0, 0.5, 1.0], &device).narrow(0, 0, samples);
            let outcome = Outcome::of_head(
                Problem::Regression,
                logits,
                LabelBatch::Numbers(labels),
                scale,
            );
            let expected = [0.005, 0.0, 0.005][..samples].iter().sum::<f64>() / samples as f64;
            assert!((number(outcome.loss.clone()) - expected).abs() < 1e-6);
            let Pairs::Numbers(pairs) = outcome.pairs() else {
                panic!("numbers");
            };
            // Mean 1 and deviation 1.
            assert_eq!(pairs.len(), samples);
            assert!((pairs[0].0 - 1.1).abs() < 1e-6 && pairs[0].1 == 1.0);
        }
    }

    #[test]
    fn places_without_a_tag_count_nothing() {
        let device = Device::flex();
        let logits = Tensor::<3>::from_data(
            [
                [[9.0, 0.0], [0.0, 0.0], [2.0, 0.0]],
                [[1.0, 0.0], [9.0, 0.0], [9.0, 0.0]],
            ],
            &device,
        );
        let labels = Tensor::<2, Int>::from_data([[-100, 1, 0], [0, -100, -100]], &device);
        let outcome = Outcome::tagged(logits, labels);
        let loss = |z: f64| (1.0 + (-z).exp()).ln();
        let expected = (loss(0.0) + loss(2.0) + loss(1.0)) / 3.0;
        assert!((number(outcome.loss.clone()) - expected).abs() < 1e-6);
        assert_eq!(outcome.weight(), 3);
        let rows = vec![(vec![0, 0], vec![1, 0]), (vec![0], vec![0])];
        assert_eq!(outcome.pairs(), Pairs::Tags(rows));
    }
}
