//! Momentum in the solve against the P x P system that defines it.

use burn_ief::jacobian::RecordedBatch;
use burn_ief::linalg::{Cholesky, Symmetric};
use burn_ief::update::{Damping, On};
use burn_ief::{EfConfig, IefConfig, NaturalGradient, NgdConfig, SfConfig, mark_loss, mark_output};
use proptest::prelude::*;

use super::net::{Case, Reduction, cases};
use super::oracle::{by_sample, combine, distance, flat, gram, output_norms};
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
    Cholesky::new(&matrix).unwrap().solve(&b)
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    Ef,
    Ief(On),
}

impl Rule {
    fn build(self, lambda: f64, momentum: f64) -> NaturalGradient {
        let damping = Damping::absolute(lambda).without_floor();
        match self {
            Self::Ef => EfConfig::new()
                .with_damping(damping)
                .with_solve_momentum(momentum)
                .build(),
            Self::Ief(on) => IefConfig::new()
                .with_damping(damping.on(on))
                .with_solve_momentum(momentum)
                .build(),
        }
    }

    /// Rows R and b of [`dense`]. A sample with s = 0 has a row of zeros and no equation.
    fn system(self, rows: &[Vec<f64>], s: &[f64]) -> (Vec<Vec<f64>>, Vec<f64>) {
        let ones = vec![1.0; rows.len()];
        match self {
            Self::Ef => (rows.to_vec(), combine(rows, &ones)),
            Self::Ief(On::Gram) => (rows.to_vec(), combine(rows, s)),
            Self::Ief(On::Fisher) => {
                let scaled = rows.iter().zip(s).filter(|(_, s)| **s > 0.0);
                let scaled = scaled.map(|(row, s)| row.iter().map(|x| x / s.sqrt()).collect());
                (scaled.collect(), combine(rows, &ones))
            }
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
        for rule in [Rule::Ef, Rule::Ief(On::Fisher), Rule::Ief(On::Gram)] {
            let first = case.batch(weighted);
            let oracle = by_sample(&net, &first);
            let (rows, _) = rule.system(&oracle.to_dense(), &output_norms(&net, &first));
            let lambda = lambda(&rows);
            let method = rule.build(lambda, momentum);
            let mut previous = method.new_state(&net);
            let mut expected = vec![0.0; oracle.columns()];
            for step in 0..STEPS {
                let batch = batch_of(&case, step).batch(weighted);
                let tape = method.start().with_loss_scale(batch.scale(Reduction::Burn));
                let loss = batch.loss(mark_output(net.forward(&batch)), Reduction::Burn);
                let taken = method.step_with(&mut previous, tape, loss.backward(), &net).unwrap();

                let rows = by_sample(&net, &batch).to_dense();
                let (scaled, b) = rule.system(&rows, &output_norms(&net, &batch));
                let start: Vec<f64> = expected.iter().map(|x| momentum * x).collect();
                expected = dense(&scaled, &b, lambda, &start);
                let error = distance(&flat(&oracle, &taken.gradients), &expected);
                prop_assert!(error < UPDATES, "{rule:?}, step {step}: {error:e}");
                let image: Vec<f64> =
                    rows.iter().map(|row| burn_ief::linalg::dot(row, &expected)).collect();
                let error = distance(&taken.decrease, &image);
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
        for exact in [false, true] {
            let build = |lambda: f64| {
                let damping = Damping::absolute(lambda).without_floor();
                match exact {
                    true => NgdConfig::new(case.classes)
                        .with_damping(damping)
                        .with_solve_momentum(momentum)
                        .build(),
                    false => SfConfig::new()
                        .with_draws(draws)
                        .with_seed(case.seed)
                        .with_damping(damping)
                        .with_solve_momentum(momentum)
                        .build(),
                }
            };
            let run = |method: &NaturalGradient, step: u64| {
                let batch = batch_of(&case, step).batch(false);
                let labels: Vec<i64> = batch.labels.iter().map(|labels| labels[0]).collect();
                let tape = method.start_at(step);
                let losses = pooled_losses(mark_output(net.forward_pooled(&batch)), &labels);
                (tape, mark_loss(losses.mean()).backward())
            };
            let rows_of = |method: &NaturalGradient, step| {
                let (tape, grads) = run(method, step);
                let recorded = RecordedBatch::collect(tape, grads, &net, None).unwrap();
                let mut rows = recorded.all_rows().to_dense();
                let drawn = rows.split_off(case.samples);
                (recorded, rows, drawn)
            };
            let lambda = lambda(&rows_of(&build(1.0), 0).2);
            let method = build(lambda);
            let mut previous = method.new_state(&net);
            let mut expected: Option<Vec<f64>> = None;
            for step in 0..STEPS {
                let (tape, grads) = run(&method, step);
                let update = method.gradients_with(&mut previous, tape, grads, &net).unwrap();
                let (recorded, rows, drawn) = rows_of(&method, step);
                let start = expected.unwrap_or_else(|| vec![0.0; rows[0].len()]);
                let start: Vec<f64> = start.iter().map(|x| momentum * x).collect();
                let g = combine(&rows, &vec![1.0; rows.len()]);
                let solved = dense(&drawn, &g, lambda, &start);
                let error = distance(&flat(recorded.all_rows(), &update), &solved);
                prop_assert!(error < UPDATES, "exact {exact}, step {step}: {error:e}");
                expected = Some(solved);
            }
        }
    }
}
