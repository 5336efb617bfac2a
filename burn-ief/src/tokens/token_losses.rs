//! The losses that a cross-entropy over tokens gives.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use burn_flex_fused::cross_entropy;

use super::batch::Batch;
use super::slices::Pass;
use crate::record::{LossScale, declare_loss_scale, mark_loss};
use crate::rows::WideLogits;

/// The losses of a batch, made by [`token_cross_entropy`](super::token_cross_entropy).
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_ief::{VocabularyHead, token_cross_entropy};
///
/// let device = Device::flex();
/// let layer = LinearConfig::new(4, 10).init(&device);
/// let hidden = Tensor::<3>::ones([2, 3, 4], &device);
/// let labels = Tensor::<2, Int>::from_data([[-100, 5, 6], [-100, -100, 7]], &device);
/// let losses = token_cross_entropy(hidden, labels, &VocabularyHead::linear(&layer))?;
/// assert_eq!(losses.answer_tokens(), [2, 1]);
/// let [sum, token_mean] = [losses.sum(), losses.token_mean()].map(|x| x.into_scalar::<f32>());
/// assert!((token_mean - sum / 3.0).abs() < 1e-6);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TokenLosses {
    /// The losses of the samples, `[M]`, on the autodiff graph of the hidden states.
    losses: Tensor<1>,
    /// `Σ W · g` with the gradients g of weights that train outside a recording, for the sum of the losses.
    of_weights: Option<Tensor<1>>,
    /// With it, the logits on the autodiff graph and the positions of a slice.
    whole: Option<(WideLogits, usize)>,
    squares: Tensor<1>,
    hits: Tensor<1>,
    tokens: Vec<usize>,
    owners: Vec<usize>,
    labels: Vec<i64>,
}

impl TokenLosses {
    /// From a pass over the true labels; `leaf` is added to the losses.
    pub(super) fn new(
        batch: &Batch,
        found: &Pass,
        leaf: Option<Tensor<1>>,
        of_weights: Option<Tensor<1>>,
        whole: Option<(WideLogits, usize)>,
    ) -> Self {
        let weight = batch.answers.weight();
        let values = batch.by_sample(found.losses.clone() * weight);
        let losses = match batch.inner_products(0, &found.inputs) {
            Some(products) => {
                let products = batch.by_sample(products);
                products.clone() - products.detach() + values
            }
            None => values,
        };
        Self {
            losses: match leaf {
                Some(leaf) => losses + leaf,
                None => losses,
            },
            of_weights,
            whole,
            squares: batch.by_sample(found.squares.clone()),
            hits: batch.by_sample(found.hits.clone() * weight),
            tokens: batch.answers.counts.clone(),
            owners: batch.answers.owners.clone(),
            labels: batch.answers.labels.clone(),
        }
    }

    /// The loss of every sample, summed over its answer tokens, `[M]`.
    ///
    /// In a recording, pass what you make of them through [`mark_mean_loss`](crate::mark_mean_loss) or
    /// [`mark_loss`]. With a head that trains outside a recording, the logits of all answers are on the
    /// autodiff graph: [`sum`](Self::sum), [`mean`](Self::mean) and [`token_mean`](Self::token_mean) do not
    /// need them.
    pub fn per_sample(&self) -> Tensor<1> {
        let Some((logits, slice)) = &self.whole else {
            return self.losses.clone();
        };
        let device = logits.values_device();
        let count = self.labels.len();
        let parts = (0..count).step_by(*slice).map(|start| {
            let own = (*slice).min(count - start);
            let labels = TensorData::new(self.labels[start..start + own].to_vec(), [own]);
            let labels = Tensor::<1, Int>::from_data(labels, &device);
            cross_entropy(logits.narrow(start, own).values(), labels, None)
        });
        let losses = Tensor::cat(parts.collect(), 0);
        let owners: Vec<i64> = self.owners.iter().map(|&owner| owner as i64).collect();
        let owners = Tensor::<1, Int>::from_data(TensorData::new(owners, [count]), &device);
        let zeros = Tensor::zeros([self.tokens.len()], (&losses.device(), losses.dtype()));
        let weight = if self.tokens() == 0 { 0.0 } else { 1.0 };
        zeros.select_assign(0, owners, losses * weight, IndexingUpdateOp::Add)
    }

    /// The sum over all answer tokens, marked as the loss, `[1]`.
    pub fn sum(&self) -> Tensor<1> {
        self.reduced(1.0, LossScale::Sum)
    }

    /// The mean over the samples of their summed losses, marked as the loss, `[1]`.
    pub fn mean(&self) -> Tensor<1> {
        self.reduced(1.0 / self.tokens.len() as f64, LossScale::Mean)
    }

    /// The mean over all answer tokens of the batch, which `transformers` reports, marked as the loss,
    /// `[1]`; 0 without answer tokens.
    pub fn token_mean(&self) -> Tensor<1> {
        let factor = 1.0 / self.tokens().max(1) as f64;
        self.reduced(factor, LossScale::Factor(factor))
    }

    fn reduced(&self, factor: f64, scale: LossScale) -> Tensor<1> {
        declare_loss_scale(scale);
        let sum = self.losses.clone().sum();
        let sum = match &self.of_weights {
            Some(products) => {
                let products = products.clone().cast(sum.dtype());
                products.clone() - products.detach() + sum
            }
            None => sum,
        };
        mark_loss(sum * factor)
    }

    /// s_n, the squared norm of the gradient of the loss of every sample with respect to its logits,
    /// `Σ_t ‖softmax(z_t) − onehot(y_t)‖²`, `[M]`; constants.
    pub fn output_norms(&self) -> Tensor<1> {
        self.squares.clone()
    }

    /// Answer tokens of every sample.
    pub fn answer_tokens(&self) -> &[usize] {
        &self.tokens
    }

    /// Answer tokens of the batch.
    pub fn tokens(&self) -> usize {
        self.tokens.iter().sum()
    }

    /// Answer tokens of every sample for which no entry of the vocabulary has a larger logit than the label,
    /// `[M]`.
    pub fn correct(&self) -> Tensor<1> {
        self.hits.clone()
    }
}
