//! The cross-entropy of the tokens of a batch.

use burn::tensor::{Int, Tensor};

use super::answers::Answers;
use super::batch::Batch;
use super::head::VocabularyHead;
use super::record::record;
use super::slices::{Targets, Wanted};
use super::token_losses::TokenLosses;
use crate::error::Error;
use crate::record::{Recorder, recorder};

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
    let batch = Batch::new(hidden, head, answers, copies);
    let records = recorder.filter(|_| batch.is_tracked() || head.terms.iter().any(|t| t.trains));
    match records {
        Some(recorder) => Ok(record(&recorder, batch, head, draws.flatten())),
        None => Ok(plain(batch)),
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
