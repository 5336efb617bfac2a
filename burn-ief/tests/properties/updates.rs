use burn::optim::GradientsParams;
use burn::tensor::{Int, Tensor};
use burn_ief::jacobian::Jacobian;
use burn_ief::linalg::{Cholesky, Symmetric};
use burn_ief::update::{self, Damping, On};
use burn_ief::{EfConfig, IefConfig, NaturalGradient, SfConfig, mark_loss, mark_output};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::net::{Batch, Net, Reduction, cases};
use super::oracle::{by_sample, combine, distance, flat, gram, output_norms};
use super::{ROWS, UPDATES, config};

const REDUCTIONS: [Reduction; 3] = [Reduction::Sum, Reduction::Mean, Reduction::Burn];

/// Rows are f32: their rounding counts in K as it does in the damping's floor, which is off here.
fn damping() -> Damping {
    Damping::relative(1e-2).without_floor()
}

fn step(
    method: &NaturalGradient,
    net: &Net,
    batch: &Batch,
    reduction: Reduction,
) -> GradientsParams {
    let tape = method.start().with_loss_scale(batch.scale(reduction));
    let loss = batch.loss(mark_output(net.forward(batch)), reduction);
    method.gradients(tape, loss.backward(), net).unwrap()
}

proptest! {
    #![proptest_config(config(32))]

    /// EF and iEF in both dampings, under every reduction, against the rows of one backward pass
    /// per sample.
    #[test]
    fn ef_and_ief_do_not_depend_on_recording_or_scale(case in cases(), weighted in any::<bool>()) {
        let (net, batch) = (case.net(), case.batch(weighted));
        let oracle = by_sample(&net, &batch);
        let rows = oracle.to_dense();
        let (k, s) = (gram(&rows), output_norms(&net, &batch));
        let expected = |coefficients: update::Coefficients| combine(&rows, &coefficients.values);
        let epsilon = f64::EPSILON;
        let ief = |on| IefConfig::new().with_damping(damping().on(on)).build();
        for (method, expected) in [
            (
                EfConfig::new().with_damping(damping()).build(),
                expected(update::ef(&k, &damping(), epsilon, None).unwrap()),
            ),
            (
                ief(On::Fisher),
                expected(update::ief(&k, &s, &damping().on(On::Fisher), epsilon, None).unwrap()),
            ),
            (
                ief(On::Gram),
                expected(update::ief(&k, &s, &damping().on(On::Gram), epsilon, None).unwrap()),
            ),
        ] {
            for reduction in REDUCTIONS {
                let update = flat(&oracle, &step(&method, &net, &batch, reduction));
                let distance = distance(&update, &expected);
                prop_assert!(distance < UPDATES, "{reduction:?}: {distance:e}");
            }
        }
    }

    /// JΔ_iEF = s at a tiny damping, where the system has a solution that f32 can hold.
    #[test]
    fn ief_lowers_every_loss_by_its_own_s(case in cases(), on_gram in any::<bool>()) {
        let (net, batch) = (case.net(), case.batch(false));
        let oracle = by_sample(&net, &batch);
        let s = output_norms(&net, &batch);
        prop_assume!(condition(&oracle, &s) < 1e4);
        let on = if on_gram { On::Gram } else { On::Fisher };
        let damping = Damping::relative(1e-12).without_floor().on(on);
        let method = IefConfig::new().with_damping(damping).build();
        let update = step(&method, &net, &batch, Reduction::Mean);
        let decrease = oracle.matvec(&update).unwrap();
        prop_assert!(distance(&decrease, &s) < UPDATES, "{decrease:?} against {s:?}");
    }

    /// SF with labels that the recording drew, read off its rows.
    #[test]
    fn sf_is_that_of_the_rows_of_its_labels(case in cases(), draws in 1..4usize) {
        let (net, batch) = (case.net(), case.batch(false));
        let labels: Vec<i64> = batch.labels.iter().map(|labels| labels[0]).collect();
        let config = SfConfig::new().with_draws(draws).with_seed(case.seed);
        let method = config.with_damping(damping()).build();
        let run = |reduction| {
            let tape = method.start_at(3).with_loss_scale(batch.scale(reduction));
            let losses = pooled_losses(mark_output(net.forward_pooled(&batch)), &labels);
            let scalar = match reduction {
                Reduction::Sum => losses.sum(),
                _ => losses.mean(),
            };
            (tape, mark_loss(scalar).backward())
        };
        let (tape, grads) = run(Reduction::Mean);
        let recorded = burn_ief::jacobian::RecordedBatch::collect(tape, grads, &net, None).unwrap();

        // Every copy is the row of some label, and its share of the Fisher matrix.
        let share = 1.0 / (draws as f64).sqrt();
        let by_class: Vec<Vec<Vec<f64>>> = (0..case.classes as i64)
            .map(|class| pooled_rows(&net, &batch, &vec![class; case.samples]).to_dense())
            .collect();
        let mut rows = pooled_rows(&net, &batch, &labels).to_dense();
        let mut matches = Vec::new();
        let copies = recorded.all_rows().to_dense().split_off(case.samples);
        for (copy, row) in copies.iter().enumerate() {
            let n = copy % case.samples;
            let candidates = by_class.iter().map(|rows| {
                rows[n].iter().map(|x| x * share).collect::<Vec<f64>>()
            });
            let (class, nearest) = candidates
                .enumerate()
                .min_by(|a, b| distance(row, &a.1).total_cmp(&distance(row, &b.1)))
                .unwrap();
            prop_assert!(distance(row, &nearest) < ROWS);
            matches.push(class as i64 == labels[n]);
            rows.push(nearest);
        }
        prop_assert_eq!(&recorded.label_matches().unwrap(), &matches);

        let coefficients =
            update::sf(&gram(&rows), case.samples, &matches, &damping(), f64::EPSILON).unwrap();
        let expected = combine(&rows, &coefficients.values);
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let (tape, grads) = run(reduction);
            let update = method.gradients(tape, grads, &net).unwrap();
            let distance = distance(&flat(recorded.all_rows(), &update), &expected);
            prop_assert!(distance < UPDATES, "{reduction:?}: {distance:e}");
        }
    }
}

/// Condition of the Gram matrix of rows over √s, of the samples that have a gradient.
fn condition(jacobian: &Jacobian, s: &[f64]) -> f64 {
    let k = jacobian.gram().unwrap();
    let kept: Vec<usize> = (0..s.len()).filter(|&n| s[n] > 0.0).collect();
    let scaled = Symmetric::from_fn(kept.len(), |i, j| {
        k.get(kept[i], kept[j]) / (s[kept[i]] * s[kept[j]]).sqrt()
    });
    Cholesky::new(&scaled).map_or(f64::INFINITY, |cholesky| cholesky.condition())
}

/// Cross-entropy of each sample, `[M]`.
pub fn pooled_losses(logits: Tensor<2>, labels: &[i64]) -> Tensor<1> {
    let labels = Tensor::<1, Int>::from_data(labels, &logits.device()).unsqueeze_dim(1);
    let log = burn::tensor::activation::log_softmax(logits, 1);
    -log.gather(1, labels).squeeze_dim::<1>(1)
}

fn pooled_rows(net: &Net, batch: &Batch, labels: &[i64]) -> Jacobian {
    Jacobian::by_sample(net, labels.len(), |net, n| {
        let sample = batch.select(n..n + 1);
        pooled_losses(net.forward_pooled(&sample), &labels[n..n + 1]).sum()
    })
    .unwrap()
}

#[test]
fn one_class_under_class_weights_is_not_a_wrong_scale() {
    // Burn divides by the weights again: the batch looks like a plain mean.
    let mut runner = proptest::test_runner::TestRunner::new(config(1));
    let case = cases().new_tree(&mut runner).unwrap().current();
    let mut batch = case.batch(true);
    batch
        .labels
        .iter_mut()
        .flatten()
        .for_each(|label| *label = 1);
    let net = case.net();
    let method = EfConfig::new().build();
    let burns = flat(
        &by_sample(&net, &batch),
        &step(&method, &net, &batch, Reduction::Burn),
    );
    let sums = flat(
        &by_sample(&net, &batch),
        &step(&method, &net, &batch, Reduction::Sum),
    );
    assert!(distance(&burns, &sums) < ROWS);
}
