//! The loss over tokens in a recording.

use burn::tensor::{Bool, Gradients, Int, Tensor, TensorData};

use super::batch::Batch;
use super::head::{Entering, VocabularyHead};
use super::slices::{Pass, Targets, Wanted};
use super::token_losses::TokenLosses;
use crate::record::{DrawnTokens, Draws, Leaf, Recorder, TokenFacts};
use crate::rows::{Rows, VocabularyRows, WideLogits};

/// The log-sum of padding: the probabilities of its classes are 0.
const PADDING: f64 = 1e30;

/// Record the loss, its output norms, the labels that are drawn, and the uses of the head's parameters.
pub(super) fn record(
    recorder: &Recorder,
    batch: Batch,
    head: &VocabularyHead,
    draws: Option<Draws>,
) -> TokenLosses {
    let passes = Passes::new(&batch, head, draws.as_ref());
    let leaf = recorder.loss_leaf(batch.answers.samples, &batch.hidden);
    let losses = TokenLosses::new(
        &batch,
        &passes.truth,
        Some(leaf.value()),
        batch.inner_products_of_weights(&passes.truth),
        None,
    );
    let of_copies = (!passes.copies.is_empty()).then(|| {
        let leaf = recorder.loss_leaf(1, &batch.hidden);
        let products = passes.copies.iter().filter_map(|(copy, found)| {
            let products = batch.inner_products(*copy, &found.inputs)?;
            Some(products.sum())
        });
        let sum = products.fold(leaf.value(), |sum, products| sum + products);
        (leaf, sum)
    });
    let facts = TokenFacts {
        squares: losses.output_norms(),
        tokens: batch.answers.counts.clone(),
        positions: batch.answers.samples * batch.answers.positions,
        drawn: passes.drawn(&batch),
    };
    let surrogate = of_copies.as_ref().map(|(_, sum)| sum.clone());
    recorder.mark_tokens(leaf.clone(), facts, surrogate);
    let of_copies = of_copies.map(|(leaf, _)| leaf);
    let weights = RowWeights {
        truth: passes.truth_counts.then_some(leaf),
        copies: of_copies,
    };
    record_head(recorder, &batch, head, &passes, &weights);
    losses
}

/// The passes over the vocabulary of a recording.
struct Passes {
    /// With the true labels.
    truth: Pass,
    /// Whether gradients flow through the true labels.
    truth_counts: bool,
    /// The passes with drawn labels through which gradients flow, with the copy whose inputs they have.
    copies: Vec<(usize, Pass)>,
    /// Passes with drawn labels that only show what was drawn.
    shown: Vec<Pass>,
    /// What the errors of drawn labels are multiplied with.
    draw_scale: f64,
}

impl Passes {
    fn new(batch: &Batch, head: &VocabularyHead, draws: Option<&Draws>) -> Self {
        let [inputs, none] = [
            batch.tracked_inputs(),
            vec![false; batch.logits.terms.len()],
        ];
        let weight = batch.answers.weight();
        let truth_counts = draws.and_then(|draws| draws.pass).unwrap_or(0) == 0;
        let truth = Wanted {
            inputs: if truth_counts {
                inputs.clone()
            } else {
                none.clone()
            },
            weights: composed(batch, head),
            scale: weight,
        };
        let mut passes = Self {
            truth: batch.pass(0, Targets::Given(&batch.answers.labels), &truth),
            truth_counts,
            copies: Vec::new(),
            shown: Vec::new(),
            draw_scale: draws.map_or(1.0, |draws| 1.0 / (draws.count as f64).sqrt()),
        };
        let Some(draws) = draws else {
            return passes;
        };
        let numbers = drawn_numbers(batch, draws);
        let each = batch.answers.len();
        let scale = weight * passes.draw_scale;
        let wanted = |inputs| Wanted {
            inputs,
            weights: none.clone(),
            scale,
        };
        for (copy, numbers) in numbers.chunks(each).enumerate() {
            let targets = Targets::Drawn(numbers);
            match draws.pass {
                // The copies have inputs of their own.
                None => {
                    let found = batch.pass(copy + 1, targets, &wanted(inputs.clone()));
                    passes.copies.push((copy + 1, found));
                }
                Some(0) => {
                    let found = batch.pass(0, targets, &wanted(none.clone()));
                    passes.shown.push(found);
                }
                Some(pass) if pass == copy + 1 => {
                    let found = batch.pass(0, targets, &wanted(inputs.clone()));
                    passes.copies.push((0, found));
                }
                Some(_) => {}
            }
        }
        passes
    }

    /// What was drawn, if the labels of all copies are known.
    fn drawn(&self, batch: &Batch) -> Option<DrawnTokens> {
        let all: Vec<&Pass> = if self.shown.is_empty() {
            self.copies.iter().map(|(_, found)| found).collect()
        } else {
            self.shown.iter().collect()
        };
        if all.is_empty() {
            return None;
        }
        let weight = batch.answers.weight();
        let squares = all
            .iter()
            .map(|found| batch.by_sample(found.squares.clone()));
        let differ = all.iter().map(|found| {
            let differ = found.targets.clone().not_equal(self.truth.targets.clone());
            let differ = differ.float().cast(found.losses.dtype());
            batch.by_sample(differ * weight)
        });
        Some(DrawnTokens {
            squares: Tensor::cat(squares.collect(), 0),
            differ: Tensor::cat(differ.collect(), 0),
        })
    }
}

/// The numbers that labels are drawn with, copy after copy, one for each answer. An answer takes the same
/// number as in an output `[M, U, V]` of the answers.
fn drawn_numbers(batch: &Batch, draws: &Draws) -> Vec<f64> {
    let answers = &batch.answers;
    let width = answers.width();
    let numbers = draws.uniform(answers.samples, width);
    let each = answers.samples * width;
    let padded = answers.padded();
    let kept = numbers.chunks(each).flat_map(|copy| {
        let own = copy.iter().zip(&padded);
        let own = own.filter_map(|(number, answer)| answer.map(|_| *number));
        let own: Vec<f64> = own.collect();
        // The one place that is computed without any answer.
        if own.is_empty() { vec![0.5] } else { own }
    });
    kept.collect()
}

/// The terms whose weights are on the autodiff graph because a reparameterization composes them.
fn composed(batch: &Batch, head: &VocabularyHead) -> Vec<bool> {
    let terms = batch.logits.terms.iter().zip(&head.terms);
    terms
        .map(|(term, own)| term.weight.is_tracked() && !own.trains)
        .collect()
}

/// Record the uses of the wide parameters that train. Narrow factors record themselves.
fn record_head(
    recorder: &Recorder,
    batch: &Batch,
    head: &VocabularyHead,
    passes: &Passes,
    weights: &RowWeights,
) {
    if head.terms.iter().all(|term| !term.trains) {
        return;
    }
    let padded = Padded::new(batch, passes);
    let factored = recorder.keeps_factors();
    let is_bias = |at: &usize| matches!(head.terms[*at].entering, Entering::One);
    let trained: Vec<usize> = (0..head.terms.len())
        .filter(|&at| head.terms[at].trains)
        .collect();
    // The K-FAC family takes a layer and its bias as one.
    let joint = trained.iter().copied().find(is_bias);
    let joint = joint.filter(|_| factored && trained.contains(&0));
    for at in trained {
        if joint == Some(at) {
            continue;
        }
        let bias = joint.filter(|_| at == 0).map(|bias| head.terms[bias].id);
        let (padded, weights) = (padded.clone(), weights.clone());
        let rule = move |grads: &Gradients| {
            let of_losses = weights.of_losses(grads, padded.samples)?;
            let rows = padded.rows(at, of_losses);
            Some(if factored {
                let rows = rows.to_outer();
                Rows::Outer(if bias.is_some() {
                    rows.with_bias()
                } else {
                    rows
                })
            } else {
                Rows::Vocabulary(rows)
            })
        };
        recorder.push(head.terms[at].id, bias, padded_rows(batch, passes), rule);
    }
}

/// Rows on the batch axis of recorded calls.
fn padded_rows(batch: &Batch, passes: &Passes) -> usize {
    let segments = usize::from(passes.truth_counts) + passes.copies.len();
    batch.answers.samples * segments
}

/// The leaves whose gradients say what the losses count for.
#[derive(Clone)]
struct RowWeights {
    /// `None` in a pass over drawn labels alone.
    truth: Option<Leaf>,
    copies: Option<Leaf>,
}

impl RowWeights {
    /// The weight of the loss of every row, `[rows]`, without the scale of draws.
    fn of_losses(&self, grads: &Gradients, rows: usize) -> Option<Tensor<1>> {
        let truth = self.truth.as_ref().map(|leaf| leaf.weights(grads));
        let truth = match truth {
            Some(weights) => Some(weights?),
            None => None,
        };
        let known = truth.as_ref().map_or(0, |truth| truth.dims()[0]);
        let copies = match &self.copies {
            Some(leaf) => Some(leaf.weights(grads)?.expand([rows - known])),
            None => None,
        };
        let all: Vec<Tensor<1>> = truth.into_iter().chain(copies).collect();
        Some(Tensor::cat(all, 0))
    }
}

/// Facts of every place, `[(1 + K) M, U]` flat, padding included.
#[derive(Clone)]
struct Padded {
    logits: WideLogits,
    log_sums: Tensor<1>,
    targets: Tensor<1, Int>,
    /// What the errors are multiplied with, in addition to the weight of their loss.
    weights: Tensor<1>,
    samples: usize,
    width: usize,
}

impl Padded {
    fn new(batch: &Batch, passes: &Passes) -> Self {
        let answers = &batch.answers;
        let width = answers.width();
        let padded = answers.padded();
        let weight = answers.weight();
        let truth = passes.truth_counts.then_some((0, &passes.truth, weight));
        let copies = passes.copies.iter();
        let copies = copies.map(|(copy, found)| (*copy, found, weight * passes.draw_scale));
        let segments: Vec<(usize, &Pass, f64)> = truth.into_iter().chain(copies).collect();
        let each = answers.len();
        let device = passes.truth.losses.device();
        let dtype = passes.truth.losses.dtype();
        let mut places = Vec::new();
        let mut mask = Vec::new();
        let mut weights = Vec::new();
        for (at, (copy, _, weight)) in segments.iter().enumerate() {
            for answer in &padded {
                let own = answer.unwrap_or(0);
                places.push(((copy * each + own) as i64, (at * each + own) as i64));
                mask.push(answer.is_none());
                weights.push(if answer.is_some() { *weight } else { 0.0 });
            }
        }
        let count = places.len();
        let indices = |places: Vec<i64>| {
            Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &device)
        };
        let inputs = indices(places.iter().map(|(input, _)| *input).collect());
        let facts = indices(places.iter().map(|(_, fact)| *fact).collect());
        let mask = Tensor::<1, Bool>::from_data(TensorData::new(mask, [count]), &device);
        let weights = TensorData::new(weights, [count]);
        let log_sums = segments.iter().map(|(_, found, _)| found.log_sums.clone());
        let targets = segments.iter().map(|(_, found, _)| found.targets.clone());
        let log_sums = Tensor::cat(log_sums.collect(), 0).select(0, facts.clone());
        Self {
            logits: batch.logits.constant().select(&inputs),
            log_sums: log_sums.mask_fill(mask, PADDING),
            targets: Tensor::cat(targets.collect(), 0).select(0, facts),
            weights: Tensor::from_data(weights, (&device, dtype)),
            samples: answers.samples * segments.len(),
            width,
        }
    }

    /// The rows of the weight of a term, once the weights of the losses `[(1 + K) M]` are known.
    fn rows(self, own: usize, of_losses: Tensor<1>) -> VocabularyRows {
        let (samples, width) = (self.samples, self.width);
        let of_losses = of_losses.reshape([samples, 1]).expand([samples, width]);
        let weights = self.weights * of_losses.reshape([samples * width]);
        VocabularyRows::new(
            self.logits,
            own,
            samples,
            self.log_sums,
            self.targets,
            weights,
        )
    }
}
