//! Batches with more samples than J has rank, at every damping: against the system of the parameters in
//! f64.

use burn_ief::methods::SolveOptions;
use burn_ief::solve::{Eigen, Symmetric};

use super::*;

/// J of softmax regression and s, in f64 from the weights.
fn rows(model: &Linear, x: &Tensor<2>) -> (Vec<Vec<f64>>, Vec<f64>) {
    let [samples, inputs] = x.dims();
    let weight = read(Some(model.weight.val()));
    let bias = read(model.bias.as_ref().map(|bias| bias.val()));
    let x = read(Some(x.clone()));
    let classes = bias.len();
    let mut all = Vec::new();
    let mut s = Vec::new();
    for n in 0..samples {
        let logits: Vec<f64> = (0..classes)
            .map(|k| {
                let terms = (0..inputs).map(|i| x[n * inputs + i] * weight[i * classes + k]);
                bias[k] + terms.sum::<f64>()
            })
            .collect();
        let largest = logits.iter().copied().fold(f64::MIN, f64::max);
        let total: f64 = logits.iter().map(|z| (z - largest).exp()).sum();
        let label = n % classes;
        let error: Vec<f64> = (0..classes)
            .map(|k| (logits[k] - largest).exp() / total - f64::from(u8::from(k == label)))
            .collect();
        s.push(error.iter().map(|e| e * e).sum());
        let weights = (0..inputs).flat_map(|i| error.iter().map(move |e| (i, *e)));
        let row = weights.map(|(i, e)| x[n * inputs + i] * e);
        all.push(row.chain(error.iter().copied()).collect());
    }
    (all, s)
}

#[test]
fn more_samples_than_parameters() {
    let device = device();
    let cases = [
        // samples, inputs, classes, whether the inputs are zero
        (64, 3, 3, false),
        (64, 10, 4, false),
        (256, 20, 10, false),
        (150, 5, 3, false),
        (8, 6, 5, true),
        (40, 2, 2, true),
    ];
    for (seed, (samples, inputs, classes, zero)) in cases.into_iter().enumerate() {
        device.seed(seed as u64);
        let model = layer(inputs, classes, &device);
        let x = normal(samples, inputs, &device) * if zero { 0.0 } else { 1.0 };
        let y: Vec<i64> = (0..samples).map(|n| (n % classes) as i64).collect();
        let y = labels(&y, &device);
        let (rows, s) = rows(&model, &x);
        for (name, on) in [
            ("ief", DampedMatrix::Fisher),
            ("ief", DampedMatrix::Gram),
            ("ef", DampedMatrix::Gram),
        ] {
            // (JᵀWJ + λI) Δ = Jᵀt
            let fisher = name == "ief" && on == DampedMatrix::Fisher;
            let weight = |n: usize| if fisher { 1.0 / s[n] } else { 1.0 };
            let target = |n: usize| if name == "ief" && !fisher { s[n] } else { 1.0 };
            let matrix = Symmetric::from_fn(rows[0].len(), |p, q| {
                (0..samples)
                    .map(|n| weight(n) * rows[n][p] * rows[n][q])
                    .sum()
            });
            let right: Vec<f64> = (0..rows[0].len())
                .map(|p| (0..samples).map(|n| target(n) * rows[n][p]).sum())
                .collect();
            let eigen = Eigen::new(&matrix).unwrap();
            let mean = matrix.diagonal().iter().sum::<f64>() / samples as f64;
            for exponent in [-3, -5, -7, -9, -11, -13, -15, i32::MIN] {
                let share = if exponent == i32::MIN {
                    0.0
                } else {
                    10f64.powi(exponent)
                };
                let damping = Damping::relative(share).on(on);
                let solve = SolveOptions::new()
                    .with_damping(damping)
                    .with_momentum(Some(0.0));
                let step = StepOptions::new().with_normalize(Some(0.0));
                let config: AnyConfig = if name == "ef" {
                    EfConfig::new().with_solve(solve).with_step(step).into()
                } else {
                    IefConfig::new().with_solve(solve).with_step(step).into()
                };
                let mut optim = config.init(&model);
                let tape = optim.start();
                let logits = mark_output(model.forward_recorded(x.clone()));
                let grads = cross_entropy(logits, y.clone()).backward();
                let update = optim.gradients(tape, grads, &model).unwrap();
                let update = entries(&model, &update);
                // Softmax gradients add up to zero over the classes: the matrix is singular, and its
                // own rounding is not part of the solution.
                let exact = eigen.apply(&right, |v| {
                    if v > 1e-12 * mean {
                        1.0 / (v + share * mean)
                    } else {
                        0.0
                    }
                });
                let error: Vec<f64> = update.iter().zip(&exact).map(|(a, b)| a - b).collect();
                let error = norm(&error) / norm(&exact);
                assert!(
                    error < 1e-2,
                    "{samples} x {}, {name} {on:?}, {share:e}: {error:.1e}",
                    rows[0].len()
                );
            }
        }
    }
}
