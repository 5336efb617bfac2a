//! Labels drawn from the model's own distribution.

use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

/// The distribution whose parameters are the model's output. Its negative log-likelihood is the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
#[serde(rename_all = "snake_case")]
pub enum Likelihood {
    /// Categorical over the last axis, with the logits as output: cross-entropy.
    #[default]
    Categorical,
    /// Gaussian with unit variance around the output: ½ (z − y)² per entry.
    Gaussian,
    /// Bernoulli for each entry, with its logit as output: binary cross-entropy of independent labels.
    Bernoulli,
}

/// Which labels the copies of a sample have.
///
/// ```
/// use burn_ief::{LabelDraw, Tape};
///
/// // One drawn label per sample, reproducible from (seed, step).
/// let tape = Tape::with_drawn_labels(LabelDraw::sample(1, 42, 0));
/// # drop(tape);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum LabelDraw {
    /// K independent draws per sample. In a sequence, the label of every position is drawn.
    ///
    /// The draws come from a counter-based generator (ChaCha, stream `step`) and not from the
    /// device's random state, so a resumed run draws the same labels. Each sample has its own place
    /// in the stream, given by its row in the whole batch of the step. So the shards of a step
    /// (accumulated batches, devices) draw what one batch of all their samples would.
    Sample {
        /// Draws per sample.
        count: usize,
        /// Seed of the run.
        seed: u64,
        /// Step of the run.
        step: u64,
        /// Row of the first sample in the whole batch of the step: 0, unless this is a later shard.
        first_row: u64,
    },
    /// One copy per class, weighted by its probability (or per entry of a Gaussian or Bernoulli output, weighted by
    /// its variance): the exact Fisher matrix. Needs the number of classes and an output `[M, classes]`.
    Enumerate {
        /// Number of classes.
        classes: usize,
    },
}

impl LabelDraw {
    /// `count` draws per sample.
    pub fn sample(count: usize, seed: u64, step: u64) -> Self {
        Self::Sample {
            count,
            seed,
            step,
            first_row: 0,
        }
    }

    /// The draw of a shard whose first sample has this row in the whole batch of the step.
    pub fn from_row(mut self, row: u64) -> Self {
        if let Self::Sample { first_row, .. } = &mut self {
            *first_row = row;
        }
        self
    }

    /// Random numbers for the rows of all copies, `per_sample` for each sample of each copy.
    fn numbers(
        &self,
        mark: u64,
        samples: usize,
        per_sample: usize,
        draw: impl Fn(&mut ChaCha8Rng) -> f64,
    ) -> Vec<f64> {
        // Words of 32 bits in the stream that belong to one sample. A number takes two, or a few
        // more where values are rejected.
        const WORDS_PER_SAMPLE: u128 = 1 << 28;
        // The golden ratio spreads consecutive numbers over all seeds.
        const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
        let Self::Sample {
            count,
            seed,
            step,
            first_row,
        } = self
        else {
            return Vec::new();
        };
        let mut numbers = Vec::with_capacity(count * samples * per_sample);
        for copy in 0..*count as u64 {
            let seed = seed.wrapping_add(copy.wrapping_mul(SPREAD)) ^ mark.rotate_left(32);
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(*step);
            for sample in 0..samples as u64 {
                let row = u128::from(first_row.wrapping_add(sample));
                generator.set_word_pos(row * WORDS_PER_SAMPLE);
                numbers.extend((0..per_sample).map(|_| draw(&mut generator)));
            }
        }
        numbers
    }

    /// Numbers in `[0, 1)` for the draws of the `mark`-th output, copy after copy, `per_sample` for each
    /// sample.
    pub(super) fn uniform(&self, mark: u64, samples: usize, per_sample: usize) -> Vec<f64> {
        self.numbers(mark, samples, per_sample, |generator| {
            generator.random::<f64>()
        })
    }

    /// Copies per sample.
    pub fn copies(&self) -> usize {
        match self {
            Self::Sample { count, .. } => *count,
            Self::Enumerate { classes } => *classes,
        }
    }

    /// Output gradients of the copies for the logits `[K * M * T, C]` of the `mark`-th output, of
    /// `samples` M with T positions each. They are scaled so that the Fisher matrix is the plain sum
    /// of outer products of the copies' rows.
    pub(crate) fn output_gradients(
        &self,
        z: Tensor<2>,
        samples: usize,
        mark: u64,
        likelihood: Likelihood,
    ) -> Tensor<2> {
        let [rows, classes] = z.dims();
        match (self, likelihood) {
            (Self::Sample { count, .. }, Likelihood::Categorical) => {
                let p = softmax(z, 1);
                let uniform = self.uniform(mark, samples, rows / (samples * count));
                let labels = draw_categorical(p.clone(), uniform);
                (p.clone() - one_hot(labels, classes).cast(p.dtype())) / (*count as f64).sqrt()
            }
            (Self::Sample { count, .. }, Likelihood::Gaussian) => {
                let entries = rows * classes / (samples * count);
                let noise = self.numbers(mark, samples, entries, |generator| {
                    StandardNormal.sample(generator)
                });
                let data = TensorData::new(noise, [rows, classes]);
                Tensor::from_data(data, (&z.device(), z.dtype())) / (*count as f64).sqrt()
            }
            (Self::Sample { .. }, Likelihood::Bernoulli) => {
                let pairs = logit_pairs(z);
                let drawn = self.output_gradients(pairs, samples, mark, Likelihood::Categorical);
                drawn.narrow(1, 1, 1).reshape([rows, classes])
            }
            (Self::Enumerate { .. }, likelihood) => {
                let labels: Vec<i64> = (0..rows)
                    .map(|row| (row * self.copies() / rows) as i64)
                    .collect();
                let labels = Tensor::from_data(TensorData::new(labels, [rows]), &z.device());
                match likelihood {
                    Likelihood::Categorical => {
                        let p = softmax(z, 1);
                        let weight = p.clone().gather(1, labels.clone().unsqueeze_dim(1)).sqrt();
                        (p.clone() - one_hot(labels, classes).cast(p.dtype())) * weight
                    }
                    Likelihood::Gaussian => one_hot(labels, classes).cast(z.dtype()),
                    Likelihood::Bernoulli => {
                        let p = softmax(logit_pairs(z), 1);
                        let deviation = p.prod_dim(1).sqrt().reshape([rows, classes]);
                        one_hot(labels, classes).cast(deviation.dtype()) * deviation
                    }
                }
            }
        }
    }
}

/// Each logit of `z [N, C]` as two classes (0, z), `[N · C, 2]`: a sigmoid is a softmax over them.
fn logit_pairs(z: Tensor<2>) -> Tensor<2> {
    let [rows, classes] = z.dims();
    let z = z.reshape([rows * classes, 1]);
    Tensor::cat(vec![z.zeros_like(), z], 1)
}

/// One draw per row of `p [N, C]`, by inverting the cumulative distribution at a number in `[0, 1)`
/// for each row.
pub(crate) fn draw_categorical(p: Tensor<2>, uniform: Vec<f64>) -> Tensor<1, Int> {
    let [rows, classes] = p.dims();
    let data = TensorData::new(uniform, [rows, 1]);
    let uniform = Tensor::<2>::from_data(data, (&p.device(), p.dtype()));
    let below = p.cumsum(1).lower_equal(uniform.expand([rows, classes]));
    below
        .int()
        .sum_dim(1)
        .squeeze_dim::<1>(1)
        .clamp_max(classes as i64 - 1)
}

/// Like Burn's `one_hot`, which refuses a single class, and reads the labels from the device.
pub(crate) fn one_hot(labels: Tensor<1, Int>, classes: usize) -> Tensor<2> {
    let [rows] = labels.dims();
    let all = Tensor::<1, Int>::arange(0..classes as i64, &labels.device());
    let labels = labels.reshape([rows, 1]).expand([rows, classes]);
    labels
        .equal(all.reshape([1, classes]).expand([rows, classes]))
        .float()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn draws_follow_the_distribution_and_repeat_by_step() {
        let p =
            Tensor::<2>::from_floats([[0.2, 0.0, 0.5, 0.3]], &Device::flex()).expand([20_000, 4]);
        let draw = |step| -> Vec<i64> {
            let uniform = LabelDraw::sample(1, 7, step)
                .numbers(0, 20_000, 1, |generator| generator.random::<f64>());
            let labels = draw_categorical(p.clone(), uniform);
            labels.into_data().convert::<i64>().try_to_vec().unwrap()
        };
        let labels = draw(0);
        let share = |class| {
            labels.iter().filter(|&&label| label == class).count() as f64 / labels.len() as f64
        };
        // Five standard deviations of a binomial share with 20,000 draws are below 0.018.
        for (class, expected) in [(0, 0.2), (1, 0.0), (2, 0.5), (3, 0.3)] {
            assert!(
                (share(class) - expected).abs() < 0.018,
                "{class}: {}",
                share(class)
            );
        }
        assert_eq!(labels, draw(0));
        assert_ne!(labels, draw(1));
    }

    #[test]
    fn shards_draw_what_one_batch_draws() {
        let draw = LabelDraw::sample(2, 3, 5);
        let uniform = |draw: &LabelDraw, samples| {
            draw.numbers(1, samples, 4, |generator| generator.random::<f64>())
        };
        let whole = uniform(&draw, 5);
        let shards = [uniform(&draw, 2), uniform(&draw.clone().from_row(2), 3)];
        for copy in 0..2 {
            let own: Vec<f64> = shards
                .iter()
                .flat_map(|shard| shard.chunks(shard.len() / 2).nth(copy).unwrap())
                .copied()
                .collect();
            assert_eq!(own, whole[copy * 20..(copy + 1) * 20]);
        }
        // No two samples or copies share numbers.
        let distinct: std::collections::BTreeSet<u64> = whole.iter().map(|x| x.to_bits()).collect();
        assert_eq!(distinct.len(), whole.len());
    }

    #[test]
    fn enumerated_gradients_sum_to_the_fisher_of_the_softmax() {
        let device = Device::flex();
        let z = Tensor::<2>::from_floats([[0.3, -1.0, 0.5]], &device);
        let draw = LabelDraw::Enumerate { classes: 3 };
        let g = draw.output_gradients(z.clone().repeat_dim(0, 3), 1, 0, Likelihood::Categorical);
        let p = softmax(z, 1);
        let fisher = g.clone().transpose().matmul(g);
        let identity = Tensor::<2>::eye(3, &device);
        let expected = identity * p.clone() - p.clone().transpose().matmul(p);
        let difference: f32 = (fisher - expected).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference}");
    }

    #[test]
    fn enumerated_gradients_sum_to_the_fisher_of_independent_labels() {
        let device = Device::flex();
        let z = Tensor::<2>::from_floats([[0.3, -1.0, 0.5]], &device);
        let draw = LabelDraw::Enumerate { classes: 3 };
        let g = draw.output_gradients(z.clone().repeat_dim(0, 3), 1, 0, Likelihood::Bernoulli);
        let fisher = g.clone().transpose().matmul(g);
        let p = burn::tensor::activation::sigmoid(z);
        let expected = Tensor::<2>::eye(3, &device) * (p.clone() * (p.neg() + 1.0));
        let difference: f32 = (fisher - expected).abs().max().into_scalar();
        assert!(difference < 1e-6, "{difference}");
    }

    #[test]
    fn independent_labels_are_drawn_by_their_own_probabilities() {
        let device = Device::flex();
        let z = Tensor::<2>::from_floats([[1.5, -0.5]], &device).expand([20_000, 2]);
        let gradient = LabelDraw::sample(1, 3, 0).output_gradients(
            z.clone(),
            20_000,
            0,
            Likelihood::Bernoulli,
        );
        let p = burn::tensor::activation::sigmoid(z);
        // p − y: what is drawn is 0 or 1, and its mean is p.
        let drawn = p - gradient;
        let values: Vec<f32> = drawn.clone().into_data().iter::<f32>().collect();
        assert!(
            values
                .iter()
                .all(|y| y.abs() < 1e-6 || (y - 1.0).abs() < 1e-6)
        );
        let means: Vec<f32> = drawn.mean_dim(0).into_data().iter::<f32>().collect();
        for (mean, expected) in means.into_iter().zip([0.817_57, 0.377_54]) {
            assert!((mean - expected).abs() < 0.018, "{mean} {expected}");
        }
    }
}
