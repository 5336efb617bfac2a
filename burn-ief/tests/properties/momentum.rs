//! Momentum in the solve against the P x P system that defines it.

use burn_ief::jacobian::RecordedBatch;
use burn_ief::methods::{AnyConfig, Method};
use burn_ief::optim::{InitOptimizer, NaturalOptimizer};
use burn_ief::prelude::{EfConfig, IefConfig, NgdConfig, SfConfig};
use burn_ief::solve::{DampedMatrix, Damping, Symmetric};
use burn_ief::{mark_loss, mark_output};
use proptest::prelude::*;

use super::exact::exact;
use super::host::solve;
use super::net::{Case, Net, Reduction, cases};
use super::oracle::{by_sample, combine, distance, dot, flat, gram, output_norms};
use super::updates::pooled_losses;
use super::{UPDATES, config};

const STEPS: u64 = 3;

/// The batch of a step; the network stays that of the case.
fn batch_of(case: &Case, step: u64) -> Case {
    case.with_seed(case.seed.wrapping_add(step))
}

/// λ of about a hundredth of the mean diagonal.
fn lambda(rows: &[Vec<f64>]) -> f64 {
    let diagonal = gram(rows).diagonal();
    (1e-2 * diagonal.iter().sum::<f64>() / rows.len() as f64).max(1e-6)
}

/// The minimiser of `ΔᵀRᵀRΔ − 2 bᵀΔ + λ‖Δ − Δ₀‖²` for rows R.
fn dense(rows: &[Vec<f64>], b: &[f64], lambda: f64, start: &[f64]) -> Vec<f64> {
    let matrix = Symmetric::from_fn(b.len(), |p, q| {
        let diagonal = if p == q { lambda } else { 0.0 };
        diagonal + rows.iter().map(|row| row[p] * row[q]).sum::<f64>()
    });
    let b: Vec<f64> = b.iter().zip(start).map(|(b, x)| b + lambda * x).collect();
    solve(&matrix, &b)
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Ef,
    Ief(DampedMatrix),
}

impl Rule {
    fn init(self, lambda: f64, momentum: f64, net: &Net) -> NaturalOptimizer {
        let damping = Damping::absolute(lambda).without_floor();
        let config = match self {
            Self::Ef => exact(EfConfig::new(), damping, momentum),
            Self::Ief(on) => exact(IefConfig::new(), damping.on(on), momentum),
        };
        config.init(net)
    }

    /// Rows R and b of [`dense`]. A sample with s = 0 has a row of zeros and no equation.
    fn system(self, rows: &[Vec<f64>], s: &[f64]) -> (Vec<Vec<f64>>, Vec<f64>) {
        let ones = vec![1.0; rows.len()];
        match self {
            Self::Ief(DampedMatrix::Gram) => (rows.to_vec(), combine(rows, s)),
            Self::Ief(DampedMatrix::Fisher) => {
                let scaled = rows.iter().zip(s).filter(|(_, s)| **s > 0.0);
                let scaled = scaled.map(|(row, s)| row.iter().map(|x| x / s.sqrt()).collect());
                (scaled.collect(), combine(rows, &ones))
            }
            Self::Ef => (rows.to_vec(), combine(rows, &ones)),
            Self::Ief(other) => panic!("no dense form of {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(config(24))]

    /// EF and iEF in both dampings over a few batches, rows of one backward pass per sample.
    #[test]
    fn each_solve_starts_from_the_one_before(
        case in cases(),
        weighted in any::<bool>(),
        momentum in 0.1..0.99f64,
    ) {
        let net = case.net();
        for rule in [Rule::Ef, Rule::Ief(DampedMatrix::Fisher), Rule::Ief(DampedMatrix::Gram)] {
            let first = case.batch(weighted);
            let oracle = by_sample(&net, &first);
            let (rows, _) = rule.system(&oracle.to_dense(), &output_norms(&net, &first));
            let lambda = lambda(&rows);
            let mut optim = rule.init(lambda, momentum, &net);
            // The same steps again, for their reports; a step size of zero leaves the model.
            let mut twin = rule.init(lambda, momentum, &net);
            let mut expected = vec![0.0; oracle.columns()];
            for step in 0..STEPS {
                let batch = batch_of(&case, step).batch(weighted);
                let run = |optim: &NaturalOptimizer| {
                    let tape = optim.start().with_loss_scale(batch.scale(Reduction::Burn));
                    let loss = batch.loss(mark_output(net.forward(&batch)), Reduction::Burn);
                    (tape, loss.backward())
                };
                let (tape, grads) = run(&optim);
                let update = optim.gradients(tape, grads, &net).unwrap();
                let (tape, grads) = run(&twin);
                let (_, report) = twin.step_with_report(0.0, net.clone(), tape, grads).unwrap();

                let rows = by_sample(&net, &batch).to_dense();
                let (scaled, b) = rule.system(&rows, &output_norms(&net, &batch));
                let start: Vec<f64> = expected.iter().map(|x| momentum * x).collect();
                expected = dense(&scaled, &b, lambda, &start);
                let error = distance(&flat(&oracle, &update), &expected);
                prop_assert!(error < UPDATES, "{rule:?}, step {step}: {error:e}");
                let image: Vec<f64> = rows.iter().map(|row| dot(row, &expected)).collect();
                let error = distance(&report.solve().unwrap().decrease, &image);
                prop_assert!(error < UPDATES, "{rule:?}, step {step}: {error:e}");
            }
        }
    }

    /// SF and the exact natural gradient, for the rows that the recording holds; samples enough for
    /// both the M x M and the P x P route come up.
    #[test]
    fn fisher_matrices_start_from_the_update_before(
        case in cases(),
        draws in 1..4usize,
        momentum in 0.1..0.99f64,
    ) {
        let net = case.net();
        let sampled = SfConfig::new().with_draws(draws).with_seed(case.seed);
        let enumerated = NgdConfig::new().with_classes(case.classes);
        for config in [AnyConfig::from(sampled), AnyConfig::from(enumerated)] {
            let name = config.name();
            let init = |lambda: f64| {
                let damping = Damping::absolute(lambda).without_floor();
                exact(config.clone(), damping, momentum).init(&net)
            };
            let run = |optim: &NaturalOptimizer, step: u64| {
                let batch = batch_of(&case, step).batch(false);
                let labels: Vec<i64> = batch.labels.iter().map(|labels| labels[0]).collect();
                let tape = optim.method().start(step);
                let losses = pooled_losses(mark_output(net.forward_pooled(&batch)), &labels);
                (tape, mark_loss(losses.mean()).backward())
            };
            let rows_of = |optim: &NaturalOptimizer, step| {
                let (tape, grads) = run(optim, step);
                let recorded = RecordedBatch::collect(tape, grads, &net, None).unwrap();
                let mut rows = recorded.all_rows().to_dense();
                let drawn = rows.split_off(case.samples);
                (recorded, rows, drawn)
            };
            let lambda = lambda(&rows_of(&init(1.0), 0).2);
            let mut optim = init(lambda);
            let mut expected: Option<Vec<f64>> = None;
            for step in 0..STEPS {
                let (tape, grads) = run(&optim, step);
                let update = optim.gradients(tape, grads, &net).unwrap();
                let (recorded, rows, drawn) = rows_of(&optim, step);
                let start = expected.unwrap_or_else(|| vec![0.0; rows[0].len()]);
                let start: Vec<f64> = start.iter().map(|x| momentum * x).collect();
                let g = combine(&rows, &vec![1.0; rows.len()]);
                let solved = dense(&drawn, &g, lambda, &start);
                let error = distance(&flat(recorded.all_rows(), &update), &solved);
                prop_assert!(error < UPDATES, "{name}, step {step}: {error:e}");
                expected = Some(solved);
            }
        }
    }
}
