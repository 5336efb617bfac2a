//! Batches with more samples than J has rank, at every damping: against the system of the parameters in
//! f64.

use burn::tensor::DType;
use burn_ief::jacobian::{GramPrecision, RecordedBatch};
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

type Case = (usize, usize, usize, Inputs);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Inputs {
    Normal,
    Zero,
    /// Samples that differ by a hundredth.
    Alike,
}

/// Softmax regression, at every damping.
const CASES: [Case; 6] = [
    // samples, inputs, classes
    (64, 3, 3, Inputs::Normal),
    (64, 10, 4, Inputs::Normal),
    (256, 20, 10, Inputs::Normal),
    (150, 5, 3, Inputs::Normal),
    (8, 6, 5, Inputs::Zero),
    (40, 2, 2, Inputs::Zero),
];

#[test]
fn more_samples_than_parameters() {
    check_all(&device(), GramPrecision::Auto, &CASES);
}

/// K in f32, as on devices that do not compute in f64: λ has a floor there.
#[test]
fn more_samples_than_parameters_with_the_gram_matrix_in_f32() {
    check_all(&device(), GramPrecision::F32, &CASES);
    check_all(&device(), GramPrecision::F32, &ALIKE);
}

/// More parameters than samples.
const WIDE: [Case; 3] = [
    (32, 40, 10, Inputs::Normal),
    (100, 60, 5, Inputs::Normal),
    (200, 300, 3, Inputs::Normal),
];

/// Nearly singular matrices, also where there are fewer samples.
const ALIKE: [Case; 4] = [
    (64, 10, 4, Inputs::Alike),
    (256, 20, 10, Inputs::Alike),
    (100, 60, 5, Inputs::Alike),
    (200, 300, 3, Inputs::Alike),
];

#[test]
fn fewer_samples_than_parameters() {
    for precision in [GramPrecision::Auto, GramPrecision::F32] {
        check_all(&device(), precision, &WIDE);
    }
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // deprecated upstream, still supported here
#[test]
fn ndarray() {
    let device = Device::ndarray().autodiff();
    check_all(&device, GramPrecision::Auto, &CASES);
    check_all(&device, GramPrecision::F32, &WIDE);
    check_all(&device, GramPrecision::F32, &ALIKE);
}

/// In f32, because not every device of WGPU computes in f64.
#[cfg(feature = "wgpu")]
#[test]
fn wgpu() {
    let device = Device::wgpu(Default::default()).autodiff();
    check_all(&device, GramPrecision::Auto, &CASES[..2]);
    check_all(&device, GramPrecision::F32, &CASES);
    check_all(&device, GramPrecision::F32, &WIDE);
    check_all(&device, GramPrecision::F32, &ALIKE);
}

/// The updates of EF and iEF at every damping, to 1 %.
fn check_all(device: &Device, precision: GramPrecision, cases: &[Case]) {
    let f64_gram =
        precision != GramPrecision::F32 && device.clone().inner().supports_dtype(DType::F64);
    for (seed, &(samples, inputs, classes, kind)) in cases.iter().enumerate() {
        device.seed(seed as u64);
        let model = layer(inputs, classes, device);
        let x = normal(samples, inputs, device);
        let x = match kind {
            Inputs::Normal => x,
            Inputs::Zero => x * 0.0,
            Inputs::Alike => x.clone().narrow(0, 0, 1).expand([samples, inputs]) + x * 0.01,
        };
        let y: Vec<i64> = (0..samples).map(|n| (n % classes) as i64).collect();
        let y = labels(&y, device);
        let (rows, s) = rows(&model, &x);
        for (name, on) in [
            ("ief", DampedMatrix::Fisher),
            ("ief", DampedMatrix::Gram),
            ("ef", DampedMatrix::Gram),
        ] {
            let fisher = name == "ief" && on == DampedMatrix::Fisher;
            let exact = Exact::new(&rows, &s, name, fisher);
            for exponent in [-3, -5, -7, -9, -11, -13, -15, i32::MIN] {
                let share = if exponent == i32::MIN {
                    0.0
                } else {
                    10f64.powi(exponent)
                };
                let damping = Damping::relative(share).on(on);
                let solve = SolveOptions::plain(damping).with_precision(precision);
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
                let report = &optim.last_report().unwrap().solves[0];
                let asked = share * exact.mean;
                let floor = if f64_gram {
                    0.0
                } else {
                    128.0 * (samples.max(16) as f64).sqrt() * f64::from(f32::EPSILON) * exact.mean
                };
                let lambda = if f64_gram { asked } else { asked.max(floor) };
                assert!(
                    (report.damping - lambda).abs() <= 1e-3 * lambda,
                    "{}, not {lambda}",
                    report.damping
                );
                let expected = exact.update(lambda);
                let error: Vec<f64> = update.iter().zip(&expected).map(|(a, b)| a - b).collect();
                let error = norm(&error) / norm(&expected);
                // With equal inputs the rows are multiples of a few, and the rounding errors of K in f32
                // are alike and add up.
                let bound = if kind == Inputs::Zero && !f64_gram {
                    0.2
                } else {
                    1e-2
                };
                assert!(
                    error < bound,
                    "{samples} x {}, {name} {on:?}, {share:e}: {error:.1e}",
                    rows[0].len()
                );
            }
        }
    }
}

/// (JᵀWJ + λI) Δ = Jᵀt in f64, in the smaller of its two forms.
struct Exact<'a> {
    rows: &'a [Vec<f64>],
    /// √W.
    weights: Vec<f64>,
    /// Jᵀt, or t / √W in the dual form.
    right: Vec<f64>,
    /// Of JᵀWJ, or of √W J Jᵀ √W in the dual form.
    eigen: Eigen,
    dual: bool,
    /// Mean diagonal of √W J Jᵀ √W.
    mean: f64,
}

impl<'a> Exact<'a> {
    fn new(rows: &'a [Vec<f64>], s: &[f64], name: &str, fisher: bool) -> Self {
        let samples = 0..rows.len();
        let weights: Vec<f64> = if fisher {
            s.iter().map(|s| s.sqrt().recip()).collect()
        } else {
            vec![1.0; rows.len()]
        };
        let target = |n: usize| if name == "ief" && !fisher { s[n] } else { 1.0 };
        let parameters = rows[0].len();
        let dual = rows.len() < parameters;
        let matrix = if dual {
            Symmetric::from_fn(rows.len(), |n, m| {
                let product: f64 = rows[n].iter().zip(&rows[m]).map(|(a, b)| a * b).sum();
                weights[n] * weights[m] * product
            })
        } else {
            Symmetric::from_fn(parameters, |p, q| {
                let weighted = samples
                    .clone()
                    .map(|n| weights[n].powi(2) * rows[n][p] * rows[n][q]);
                weighted.sum()
            })
        };
        let right = if dual {
            samples.clone().map(|n| target(n) / weights[n]).collect()
        } else {
            let slope = |p: usize| samples.clone().map(|n| target(n) * rows[n][p]).sum();
            (0..parameters).map(slope).collect()
        };
        Self {
            mean: matrix.diagonal().iter().sum::<f64>() / rows.len() as f64,
            eigen: Eigen::new(&matrix).unwrap(),
            rows,
            weights,
            right,
            dual,
        }
    }

    fn update(&self, lambda: f64) -> Vec<f64> {
        // Softmax gradients add up to zero over the classes: the matrix is singular, and its own
        // rounding is not part of the solution.
        let x = self.eigen.apply(&self.right, |v| {
            if v > 1e-12 * self.mean {
                1.0 / (v + lambda)
            } else {
                0.0
            }
        });
        if !self.dual {
            return x;
        }
        let mut update = vec![0.0; self.rows[0].len()];
        for ((row, weight), x) in self.rows.iter().zip(&self.weights).zip(x) {
            update
                .iter_mut()
                .zip(row)
                .for_each(|(sum, entry)| *sum += weight * x * entry);
        }
        update
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
                .with_solve(SolveOptions::plain(damping))
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
