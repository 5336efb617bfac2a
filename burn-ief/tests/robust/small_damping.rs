//! Batches with more samples than J has rank, at every damping: against the system of the parameters in
//! f64.

use burn_ief::jacobian::RecordedBatch;
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

/// SF on a Gaussian output, against the system of the parameters from the recorded rows in f64: with more
/// drawn rows than parameters, and with fewer of which half are copies.
#[test]
fn sf_agrees_with_the_system_of_the_parameters() {
    let device = device();
    for (samples, inputs, outputs, copies) in [(48, 4, 2, 1), (20, 30, 3, 2), (12, 20, 1, 4)] {
        device.seed(samples as u64);
        let model = layer(inputs, outputs, &device);
        let x = normal(samples / copies, inputs, &device).repeat_dim(0, copies);
        let y = normal(samples / copies, outputs, &device).repeat_dim(0, copies);
        let record = |optim: &NaturalOptimizer| {
            let tape = optim.start();
            let z = mark_output_as(model.forward_recorded(x.clone()), Likelihood::Gaussian);
            let losses = (z - y.clone()).square().sum_dim(1) * 0.5;
            (tape, mark_mean_loss(losses.squeeze_dim(1)).backward())
        };
        for exponent in [0, -3, -6, -9, -12] {
            let damping = Damping::relative(10f64.powi(exponent));
            let config: AnyConfig = SfConfig::new()
                .with_solve(SolveOptions::new().with_damping(damping))
                .with_step(StepOptions::new().with_normalize(Some(0.0)))
                .into();
            let mut optim = config.init(&model);
            let (tape, grads) = record(&optim);
            let recorded = RecordedBatch::collect(tape, grads, &model, None).unwrap();
            // The columns of the bias are the output errors. Products with the inputs are formed in f64.
            let inputs_f64 = read(Some(x.clone()));
            let rows = recorded.all_rows().to_dense().into_iter().enumerate();
            let rows: Vec<Vec<f64>> = rows
                .map(|(row, dense)| {
                    let error = &dense[inputs * outputs..];
                    let x = &inputs_f64[(row % samples) * inputs..][..inputs];
                    let products = x.iter().flat_map(|x| error.iter().map(move |e| x * e));
                    products.chain(error.iter().copied()).collect()
                })
                .collect();
            let (truth, drawn) = rows.split_at(samples);
            let width = rows[0].len();
            let matrix = Symmetric::from_fn(width, |p, q| drawn.iter().map(|r| r[p] * r[q]).sum());
            let gradient: Vec<f64> = (0..width)
                .map(|p| truth.iter().map(|r| r[p]).sum())
                .collect();
            let mean = matrix.diagonal().iter().sum::<f64>() / drawn.len() as f64;
            let lambda = 10f64.powi(exponent) * mean;
            let exact = Eigen::new(&matrix).unwrap();
            let exact = exact.apply(&gradient, |v| 1.0 / (v.max(0.0) + lambda));

            let (tape, grads) = record(&optim);
            let update = entries(&model, &optim.gradients(tape, grads, &model).unwrap());
            let error: Vec<f64> = update.iter().zip(&exact).map(|(a, b)| a - b).collect();
            let error = norm(&error) / norm(&exact);
            assert!(
                error < 1e-2,
                "{samples} x {width}, 1e{exponent}: {error:.1e}"
            );
        }
    }
}
