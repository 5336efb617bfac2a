//! The cross-entropy of the tokens of a batch.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};
use burn_flex_fused::cross_entropy;

use super::answers::Answers;
use super::head::{Entering, VocabularyHead};
use super::record::record;
use super::slices::{Pass, Targets, Wanted, pass};
use crate::error::Error;
use crate::record::{LossScale, Recorder, declare_loss_scale, mark_loss, recorder};
use crate::rows::WideLogits;

/// The cross-entropy of a language model, from the hidden states below its output head.
///
/// Position t predicts the label at t + 1; labels of -100 ([`IGNORED`](super::IGNORED)) are not part of the
/// loss, and a sample without any other has the loss 0. The loss of a sample is the **sum** over its answer
/// tokens. The logits `[M, T, V]` are never formed: see the [module's page](super).
///
/// In a [`Tape`](crate::Tape) this call takes the place of [`mark_output`](crate::mark_output), and the methods of
/// [`TokenLosses`] declare the scale of the loss and mark it. In a recording with drawn labels the hidden states hold
/// the copies of the samples; the labels do not. The labels are read to the host.
///
/// # Shapes
///
/// - hidden: `[M, T, d]`
/// - labels: `[M, T]`. Put -100 in front for the virtual tokens of a soft prompt
///
/// ```
/// use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
/// use burn::tensor::{Device, Int, Tensor};
/// use burn_ief::prelude::*;
///
/// #[derive(burn::module::Module, Debug)]
/// struct Model {
///     table: Embedding,
///     layer: Linear,
/// }
///
/// let device = Device::flex().autodiff();
/// device.seed(1);
/// let mut model = Model {
///     table: EmbeddingConfig::new(50, 8).init(&device),
///     layer: LinearConfig::new(8, 8).init(&device),
/// };
/// let ids = Tensor::<2, Int>::from_data([[3, 14, 15, 9], [2, 7, 1, 8]], &device);
/// // The first two tokens are the question.
/// let labels = Tensor::<2, Int>::from_data([[-100, -100, 15, 9], [-100, -100, 1, -100]], &device);
///
/// let mut optim = IefConfig::new().init(&model);
/// let mut losses = Vec::new();
/// for _ in 0..5 {
///     let tape = optim.start();
///     let hidden = model.layer.forward_recorded(model.table.forward_recorded(ids.clone()));
///     // The embedding table is the output head as well, and trains.
///     let head = VocabularyHead::tied(&model.table);
///     let loss = token_cross_entropy(hidden, labels.clone(), &head)?.token_mean();
///     losses.push(loss.clone().into_scalar::<f32>());
///     model = optim.step(0.1, model, tape, loss.backward())?;
/// }
/// assert!(losses[4] < losses[0]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::IndexRange`] for a label outside the vocabulary, [`Error::Size`] and [`Error::BatchMismatch`] for shapes
/// that do not fit each other, the head or the recording, [`Error::EmptyBatch`], [`Error::Config`] for what was set on
/// the head, and [`Error::EnumeratedTokens`] in a recording for the exact natural gradient.
pub fn token_cross_entropy(
    hidden: Tensor<3>,
    labels: Tensor<2, Int>,
    head: &VocabularyHead,
) -> Result<TokenLosses, Error> {
    head.check()?;
    let recorder = recorder();
    let hidden = match &recorder {
        Some(recorder) => recorder.batch(hidden),
        None => hidden,
    };
    let copies = recorder.as_ref().map_or(1, Recorder::copies);
    check_shapes(&hidden, &labels, head, recorder.as_ref(), copies)?;
    let draws = recorder.as_ref().map(Recorder::token_draws).transpose()?;
    let answers = Answers::read(labels, head.vocabulary())?;
    let batch = Batch {
        logits: enter(&hidden, head, &answers, copies),
        hidden,
        answers,
        slice: head.slice(),
    };
    let records = recorder.filter(|_| batch.is_tracked() || head.terms.iter().any(|t| t.trains));
    match records {
        Some(recorder) => Ok(record(&recorder, batch, head, draws.flatten())),
        None => Ok(plain(batch)),
    }
}

/// What enters the head.
pub(super) struct Batch {
    /// `[(1 + K) M, T, d]`
    pub hidden: Tensor<3>,
    /// The logits at the answers of the samples, then of each copy, with inputs on the autodiff graph.
    pub logits: WideLogits,
    pub answers: Answers,
    pub slice: usize,
}

impl Batch {
    /// Whether the losses depend on anything that is differentiated.
    fn is_tracked(&self) -> bool {
        self.logits.terms.iter().any(|term| {
            let input = term.input.as_ref().is_some_and(Tensor::is_tracked);
            input || term.weight.is_tracked()
        })
    }

    /// The pass over the answers of one copy, the samples themselves being the first.
    pub fn pass(&self, copy: usize, targets: Targets<'_>, wanted: &Wanted) -> Pass {
        let count = self.answers.len();
        let logits = self.logits.narrow(copy * count, count).constant();
        pass(&logits, count, targets, wanted, self.slice)
    }

    /// Whether the inputs of the terms are differentiated.
    pub fn tracked_inputs(&self) -> Vec<bool> {
        let terms = self.logits.terms.iter();
        terms
            .map(|term| term.input.as_ref().is_some_and(Tensor::is_tracked))
            .collect()
    }

    /// Sums over the answers of every sample, `[M]`.
    pub fn by_sample(&self, x: Tensor<1>) -> Tensor<1> {
        let owners: Vec<i64> = self.answers.owners.iter().map(|&n| n as i64).collect();
        let owners = TensorData::new(owners, [self.answers.len()]);
        let owners = Tensor::<1, Int>::from_data(owners, &x.device());
        let zeros = Tensor::zeros([self.answers.samples], (&x.device(), x.dtype()));
        zeros.select_assign(0, owners, x, IndexingUpdateOp::Add)
    }

    /// `Σ_j x_j · g_j` at every answer of one copy, `[N]`: its gradient at what enters is g. `None` if nothing that
    /// enters is differentiated.
    pub fn inner_products(
        &self,
        copy: usize,
        gradients: &[Option<Tensor<2>>],
    ) -> Option<Tensor<1>> {
        let count = self.answers.len();
        let terms = self.logits.terms.iter().zip(gradients);
        let products = terms.filter_map(|(term, gradient)| {
            let (input, gradient) = (term.input.clone()?, gradient.clone()?);
            let input = input.narrow(0, copy * count, count).cast(gradient.dtype());
            Some((input * gradient).sum_dim(1).squeeze_dim(1))
        });
        products.reduce(|a, b| a + b)
    }
}

impl Batch {
    /// `Σ_j W_j · g_j` over the weights that the pass has gradients of, `[1]`.
    pub fn inner_products_of_weights(&self, found: &Pass) -> Option<Tensor<1>> {
        let terms = self.logits.terms.iter().zip(&found.weights);
        let products =
            terms.filter_map(|(term, gradient)| Some(term.weight.inner_product(gradient.clone()?)));
        products.reduce(|a, b| a + b)
    }
}

fn check_shapes(
    hidden: &Tensor<3>,
    labels: &Tensor<2, Int>,
    head: &VocabularyHead,
    recorder: Option<&Recorder>,
    copies: usize,
) -> Result<(), Error> {
    let [rows, positions, features] = hidden.dims();
    let [samples, labelled] = labels.dims();
    if samples == 0 || rows == 0 {
        return Err(Error::EmptyBatch);
    }
    let mismatch = |expected, found| Error::BatchMismatch {
        parameter: "the labels of a loss over tokens".into(),
        expected,
        found,
    };
    if rows != samples * copies {
        return Err(mismatch(rows / copies, samples));
    }
    if let Some(recorder) = recorder {
        let known = recorder.known_samples(samples);
        if known != samples {
            return Err(mismatch(known, samples));
        }
    }
    for (what, expected, found) in [
        ("positions of the labels", positions.max(1), labelled),
        ("features of the hidden states", head.features(), features),
    ] {
        if expected != found {
            return Err(Error::Size {
                what,
                expected,
                found,
            });
        }
    }
    Ok(())
}

/// What enters each term of the head at the answers, on the autodiff graph.
fn enter(
    hidden: &Tensor<3>,
    head: &VocabularyHead,
    answers: &Answers,
    copies: usize,
) -> WideLogits {
    let [rows, positions, features] = hidden.dims();
    let device = hidden.device();
    let indices = |places: Vec<i64>| {
        let count = places.len();
        Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &device)
    };
    let of_copies = |places: &[i64], each: usize| {
        let all =
            (0..copies).flat_map(|copy| places.iter().map(move |at| at + (copy * each) as i64));
        indices(all.collect())
    };
    let places: Vec<i64> = answers.places.iter().map(|&at| at as i64).collect();
    let places = of_copies(&places, answers.samples * positions);
    let flat = || hidden.clone().reshape([rows * positions, features]);
    let narrow = head
        .terms
        .iter()
        .any(|term| matches!(term.entering, Entering::LowRank(_)));
    // Recorded layers need the samples on axis 0.
    let padded = narrow.then(|| {
        let width = answers.width();
        let padded = answers.padded();
        let at = padded.iter().enumerate().map(|(at, answer)| match answer {
            Some(answer) => answers.places[*answer] as i64,
            None => (at / width * positions) as i64,
        });
        let at: Vec<i64> = at.collect();
        let own = flat().select(0, of_copies(&at, answers.samples * positions));
        let own = own.reshape([rows, width, features]);
        let mut from = vec![0; answers.len()];
        for (at, answer) in padded.iter().enumerate() {
            if let Some(answer) = answer {
                from[*answer] = at as i64;
            }
        }
        (own, of_copies(&from, answers.samples * width))
    });
    let terms = head.terms.iter().map(|term| {
        let input = match (&term.entering, &padded) {
            (Entering::One, _) => None,
            (Entering::LowRank(narrow), Some((own, from))) => {
                let hidden = narrow.apply(own.clone());
                let [_, width, rank] = hidden.dims();
                let hidden = hidden.reshape([rows * width, rank]);
                Some(hidden.select(0, from.clone()))
            }
            _ => Some(flat().select(0, places.clone())),
        };
        term.with_input(input)
    });
    WideLogits {
        terms: terms.collect(),
        cap: head.soft_cap(),
    }
}

/// Outside a recording: gradients of the weights are those of the summed losses.
fn plain(batch: Batch) -> TokenLosses {
    let tracked = batch
        .logits
        .terms
        .iter()
        .map(|term| term.weight.is_tracked());
    let wanted = Wanted {
        inputs: batch.tracked_inputs(),
        weights: tracked.collect(),
        scale: batch.answers.weight(),
    };
    let found = batch.pass(0, Targets::Given(&batch.answers.labels), &wanted);
    let of_weights = batch.inner_products_of_weights(&found);
    let whole = of_weights.is_some().then(|| {
        let count = batch.answers.len();
        let logits = batch.logits.narrow(0, count);
        (logits, batch.slice)
    });
    TokenLosses::new(&batch, &found, None, of_weights, whole)
}

/// The losses of a batch, made by [`token_cross_entropy`].
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
