use burn::optim::GradientsParams;
use burn::tensor::{Int, Tensor};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::methods::{AnyConfig, Ef, Ief, Method, Sf, System, UpdateRule};
use burn_ief::optim::InitOptimizer;
use burn_ief::prelude::{EfConfig, IefConfig, MethodConfig, SfConfig};
use burn_ief::solve::{DampedMatrix, Damping, SolveRoute, Symmetric, solve_damped};
use burn_ief::{mark_loss, mark_output};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::exact::exact;
use super::net::{Batch, Net, Reduction, cases};
use super::oracle::{by_sample, combine, distance, flat, gram, output_norms};
use super::{ROWS, UPDATES, config};

const REDUCTIONS: [Reduction; 3] = [Reduction::Sum, Reduction::Mean, Reduction::Burn];

/// Rows are f32: their rounding counts in K as it does in the damping's floor, which is off here.
fn damping() -> Damping {
    Damping::relative(1e-2).without_floor()
}

fn step(config: &AnyConfig, net: &Net, batch: &Batch, reduction: Reduction) -> GradientsParams {
    let mut optim = config.init(net);
    let tape = optim.start().with_loss_scale(batch.scale(reduction));
    let loss = batch.loss(mark_output(net.forward(batch)), reduction);
    optim.gradients(tape, loss.backward(), net).unwrap()
}

/// What a rule gives for dense rows.
fn combined(rule: &dyn UpdateRule, system: System<'_>, rows: &[Vec<f64>]) -> Vec<f64> {
    let solution = rule.solve(&system).unwrap();
    combine(rows, &solution.into_coefficients().unwrap().values)
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
        let system = |damping| {
            let system = System::from_gram(k.clone(), case.samples).with_damping(damping);
            system.with_output_norms(s.clone())
        };
        let expected = |rule: &dyn UpdateRule, damping| combined(rule, system(damping), &rows);
        let [fisher, on_gram] = [DampedMatrix::Fisher, DampedMatrix::Gram].map(|on| damping().on(on));
        for (method, expected) in [
            (exact(EfConfig::new(), damping(), 0.0), expected(&Ef::default(), damping())),
            (exact(IefConfig::new(), fisher, 0.0), expected(&Ief::default(), fisher)),
            (exact(IefConfig::new(), on_gram, 0.0), expected(&Ief::default(), on_gram)),
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
        let on = if on_gram { DampedMatrix::Gram } else { DampedMatrix::Fisher };
        let damping = Damping::relative(1e-12).without_floor().on(on);
        let method = exact(IefConfig::new(), damping, 0.0);
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
        let config = exact(config, damping(), 0.0);
        let run = |reduction| {
            let tape = config.build().start(3).with_loss_scale(batch.scale(reduction));
            let losses = pooled_losses(mark_output(net.forward_pooled(&batch)), &labels);
            let scalar = match reduction {
                Reduction::Sum => losses.sum(),
                _ => losses.mean(),
            };
            (tape, mark_loss(scalar).backward())
        };
        let (tape, grads) = run(Reduction::Mean);
        let recorded = RecordedBatch::collect(tape, grads, &net, None).unwrap();

        // Every copy is the row of some label, and its share of the Fisher matrix.
        let share = 1.0 / (draws as f64).sqrt();
        let by_class: Vec<Vec<Vec<f64>>> = (0..case.classes as i64)
            .map(|class| pooled_rows(&net, &batch, &vec![class; case.samples]).to_dense())
            .collect();
        let mut rows = pooled_rows(&net, &batch, &labels).to_dense();
        let mut matches = Vec::new();
        let known = recorded.label_matches().unwrap();
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
            // A sample that is masked altogether has the same row, zero, for all labels.
            let shows = nearest.iter().any(|x| *x != 0.0);
            matches.push(if shows { class as i64 == labels[n] } else { known[copy] });
            rows.push(nearest);
        }
        prop_assert_eq!(&known, &matches);

        let system = System::from_gram(gram(&rows), case.samples)
            .with_label_matches(matches)
            .with_damping(damping());
        let expected = combined(&Sf::default(), system, &rows);
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let (tape, grads) = run(reduction);
            let update = config.init(&net).gradients(tape, grads, &net).unwrap();
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
    let (_, report) = solve_damped(&scaled, &vec![0.0; kept.len()], 0.0, 0.0).unwrap();
    if report.route == SolveRoute::Cholesky {
        report.condition
    } else {
        f64::INFINITY
    }
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
    let method = exact(EfConfig::new(), Damping::default(), 0.0);
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
