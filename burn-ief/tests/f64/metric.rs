//! Metrics against the dense matrices that define them, in f64: what is left is rounding.
//!
//! A device takes its precision once per process, so this is a test binary of its own.

use crate::double;
use crate::exact;
use crate::host;

use burn::module::{Lora, Module, ModuleMapper, ModuleVisitor, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Int, Tensor, TensorData};
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::methods::{AnyConfig, RunningSquares, UpdateMetric};
use burn_ief::nn::unembed;
use burn_ief::prelude::*;
use burn_ief::solve::Symmetric;

use double::device;
use exact::exact;
use host::solve;

const CLASSES: usize = 3;
const STEPS: usize = 3;
const TOLERANCE: f64 = 1e-9;

/// Numbers between -1 and 1.
fn numbers(count: usize, seed: usize) -> Vec<f64> {
    let value = |i: usize| {
        let x = (i as f64 + 1.3) * 12.9898 + seed as f64 * 78.233;
        2.0 * (x.sin() * 43_758.547).fract().abs() - 1.0
    };
    (0..count).map(value).collect()
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

/// Every trainable parameter, with other numbers in each.
fn filled<M: Module>(model: M) -> M {
    struct Fill(usize);
    impl ModuleMapper for Fill {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let seed = self.0;
            param.map(|value| {
                let dims = value.dims();
                let trainable = value.is_require_grad();
                let data = TensorData::new(numbers(dims.iter().product(), seed), dims);
                let filled = Tensor::from_data(data, &value.device());
                filled.set_require_grad(trainable)
            })
        }
    }
    model.map(&mut Fill(0))
}

/// All trainable entries.
fn weights<M: Module>(model: &M) -> Vec<f64> {
    struct Read(Vec<f64>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.0.extend(values(param.val()));
            }
        }
    }
    let mut read = Read(Vec::new());
    model.visit(&mut read);
    read.0
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

/// A classifier of the samples `start..start + count` of batch `seed`.
trait Classifier: Module + 'static {
    fn logits(&self, seed: usize, start: usize, count: usize) -> Tensor<2>;
}

const SAMPLES: usize = 7;

/// Samples with this many numbers each.
fn inputs<const D: usize>(each: [usize; D], seed: usize, start: usize, count: usize) -> Tensor<D> {
    let mut dims = each;
    let size: usize = each[1..].iter().product();
    dims[0] = SAMPLES;
    let data = TensorData::new(numbers(SAMPLES * size, seed + 10), dims);
    Tensor::from_data(data, &device()).narrow(0, start, count)
}

fn labels(seed: usize, start: usize, count: usize) -> Vec<i64> {
    let label = |n: usize| ((n * n + seed) % CLASSES) as i64;
    (start..start + count).map(label).collect()
}

fn loss<M: Classifier>(model: &M, seed: usize, start: usize, count: usize) -> Tensor<1> {
    let logits = mark_output(model.logits(seed, start, count));
    let labels = labels(seed, start, count);
    let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &device());
    let cross_entropy = CrossEntropyLossConfig::new().init(&device());
    mark_loss(cross_entropy.forward(logits, labels))
}

/// A linear layer, whose factors are smaller than its rows, and its bias.
#[derive(Module, Debug)]
struct Flat {
    layer: Linear,
}

impl Classifier for Flat {
    fn logits(&self, seed: usize, start: usize, count: usize) -> Tensor<2> {
        self.layer
            .forward_recorded(inputs([0, 4], seed, start, count))
    }
}

fn flat() -> Flat {
    filled(Flat {
        layer: LinearConfig::new(4, CLASSES).init(&device()),
    })
}

/// A kernel as large as the picture (factored), one with groups and many positions (dense), a norm.
#[derive(Module, Debug)]
struct Pictures {
    small: Conv2d,
    large: Conv2d,
    norm: LayerNorm,
    head: Linear,
}

impl Classifier for Pictures {
    fn logits(&self, seed: usize, start: usize, count: usize) -> Tensor<2> {
        let x = self
            .small
            .forward_recorded(inputs([0, 2, 5, 5], seed, start, count));
        let x = self.large.forward_recorded(x.tanh());
        let x: Tensor<2> = x.flatten(1, 3);
        self.head
            .forward_recorded(self.norm.forward_recorded(x).tanh())
    }
}

fn pictures() -> Pictures {
    let device = device();
    filled(Pictures {
        small: Conv2dConfig::new([2, 4], [3, 3])
            .with_groups(2)
            .init(&device),
        large: Conv2dConfig::new([4, 5], [3, 3]).init(&device),
        norm: LayerNormConfig::new(5).init(&device),
        head: LinearConfig::new(5, CLASSES).with_bias(false).init(&device),
    })
}

/// A table with indices that repeat in a sample, a layer over positions, and one that is used twice.
#[derive(Module, Debug)]
struct Tokens {
    table: Embedding,
    hidden: Linear,
    twice: Linear,
    head: Linear,
}

impl Classifier for Tokens {
    fn logits(&self, seed: usize, start: usize, count: usize) -> Tensor<2> {
        let ids: Vec<i64> = (0..SAMPLES * 3)
            .map(|i| ((i * i + seed) % 6) as i64)
            .collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [SAMPLES, 3]), &device());
        let x = self.table.forward_recorded(ids.narrow(0, start, count));
        let x = self.hidden.forward_recorded(x).tanh();
        let x = x.mean_dim(1).squeeze_dim::<2>(1);
        let x = x.clone() + self.twice.forward_recorded(x).tanh();
        let x = x.clone() + self.twice.forward_recorded(x).tanh();
        self.head.forward_recorded(x)
    }
}

fn tokens() -> Tokens {
    let device = device();
    filled(Tokens {
        table: EmbeddingConfig::new(6, 8).init(&device),
        // 3 positions of 8 + 5 numbers are fewer than 40 entries.
        hidden: LinearConfig::new(8, 5).init(&device),
        twice: LinearConfig::new(5, 5).init(&device),
        head: LinearConfig::new(5, CLASSES).init(&device),
    })
}

/// A table that is the output head too: its rows are looked up and factored.
#[derive(Module, Debug)]
struct Tied {
    table: Embedding,
}

impl Classifier for Tied {
    fn logits(&self, seed: usize, start: usize, count: usize) -> Tensor<2> {
        let ids: Vec<i64> = (0..SAMPLES * 2)
            .map(|i| ((i * i + seed) % CLASSES) as i64)
            .collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [SAMPLES, 2]), &device());
        let x = self.table.forward_recorded(ids.narrow(0, start, count));
        let x = expand_input(inputs([0, 8], seed, start, count))
            + x.tanh().mean_dim(1).squeeze_dim::<2>(1);
        unembed(&self.table, x)
    }
}

/// Burn's adapters on two frozen layers, and a trained head.
#[derive(Module, Debug)]
struct Adapted {
    first: Linear,
    head: Linear,
}

impl Classifier for Adapted {
    fn logits(&self, seed: usize, start: usize, count: usize) -> Tensor<2> {
        let x = self
            .first
            .forward_recorded(inputs([0, 4, 9], seed, start, count));
        self.head
            .forward_recorded(x.tanh().mean_dim(1).squeeze_dim::<2>(1))
    }
}

fn adapted() -> Adapted {
    let layer = |i, o| LinearConfig::new(i, o).init(&device());
    let model = Adapted {
        first: layer(9, 6),
        head: layer(6, CLASSES),
    };
    filled(model.apply_lora(Lora::new(2, 3.0)))
}

/// The exact methods that have a dense form.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Ief(DampedMatrix),
    Ef,
    Sf,
    Ngd,
}

const RULES: [Rule; 5] = [
    Rule::Ief(DampedMatrix::Fisher),
    Rule::Ief(DampedMatrix::Gram),
    Rule::Ef,
    Rule::Sf,
    Rule::Ngd,
];

const MOMENTUM: f64 = 0.7;
const LAMBDA: f64 = 0.05;

impl Rule {
    fn config(self, metric: UpdateMetric) -> AnyConfig {
        let damping = Damping::absolute(LAMBDA).without_floor();
        let mut config = match self {
            Self::Ief(on) => exact(IefConfig::new(), damping.on(on), MOMENTUM),
            Self::Ef => exact(EfConfig::new(), damping, MOMENTUM),
            Self::Sf => exact(SfConfig::new().with_draws(2), damping, MOMENTUM),
            Self::Ngd => exact(NgdConfig::new().with_classes(CLASSES), damping, MOMENTUM),
        };
        config.solve_mut().unwrap().metric = Some(metric);
        config
    }
}

/// The running diagonal of the curvature, and the previous update, as dense vectors.
struct Dense {
    shapes: Vec<[usize; 2]>,
    v: Vec<f64>,
    update: Vec<f64>,
}

impl Dense {
    /// D from v, by the definition of each metric.
    fn metric(&self, metric: UpdateMetric) -> Vec<f64> {
        let mut w = Vec::new();
        let mut at = 0;
        let power = match metric {
            UpdateMetric::Separable(r) | UpdateMetric::PerTensor(r) | UpdateMetric::Diagonal(r) => {
                r.power
            }
            _ => 0.0,
        };
        // The floor is added to every entry before rows and columns are averaged.
        let mean = self.v.iter().sum::<f64>() / self.v.len() as f64;
        let v: Vec<f64> = self.v.iter().map(|v| v / mean + 1e-6).collect();
        for &[r, c] in &self.shapes {
            let own = &v[at..at + r * c];
            at += r * c;
            let whole = own.iter().sum::<f64>() / (r * c) as f64;
            let row = |i: usize| own[i * c..(i + 1) * c].iter().sum::<f64>() / c as f64;
            let column = |j: usize| (0..r).map(|i| own[i * c + j]).sum::<f64>() / r as f64;
            for i in 0..r {
                for j in 0..c {
                    w.push(match metric {
                        UpdateMetric::Separable(_) => row(i) * column(j) / whole,
                        UpdateMetric::PerTensor(_) => whole,
                        UpdateMetric::Diagonal(_) => own[i * c + j],
                        _ => 1.0,
                    });
                }
            }
        }
        w.iter().map(|w| w.powf(-power)).collect()
    }

    /// Minimise `ΔᵀRᵀRΔ − 2bᵀΔ + λ (Δ − μΔ_prev)ᵀ D⁻¹ (Δ − μΔ_prev)`.
    fn advance(
        &mut self,
        metric: UpdateMetric,
        curvature: &[Vec<f64>],
        rows: &[Vec<f64>],
        b: &[f64],
    ) {
        let decay = match metric {
            UpdateMetric::Separable(r) | UpdateMetric::PerTensor(r) | UpdateMetric::Diagonal(r) => {
                r.decay
            }
            _ => 0.0,
        };
        for (p, v) in self.v.iter_mut().enumerate() {
            let squares = curvature.iter().map(|row| row[p] * row[p]).sum::<f64>();
            *v = decay * *v + (1.0 - decay) * squares / SAMPLES as f64;
        }
        let d = self.metric(metric);
        let matrix = Symmetric::from_fn(d.len(), |p, q| {
            let diagonal = if p == q { LAMBDA / d[p] } else { 0.0 };
            diagonal + rows.iter().map(|row| row[p] * row[q]).sum::<f64>()
        });
        let start = self.update.iter().map(|x| MOMENTUM * x);
        let b = b.iter().zip(start).zip(&d);
        let b: Vec<f64> = b.map(|((b, start), d)| b + LAMBDA / d * start).collect();
        self.update = solve(&matrix, &b);
    }
}

fn combine(rows: &[Vec<f64>], c: &[f64]) -> Vec<f64> {
    let entry = |p| rows.iter().zip(c).map(|(row, c)| c * row[p]).sum();
    (0..rows[0].len()).map(entry).collect()
}

/// Steps of a method with a metric, against the dense definition on rows from one backward pass per
/// sample.
fn check<M: Classifier>(start: &M, rule: Rule, metric: UpdateMetric, radius: Option<f64>) {
    let mut config = rule.config(metric);
    config.solve_mut().unwrap().trust_region =
        Some(radius.map_or(TrustRegion::Unbounded, TrustRegion::total));
    let mut model = start.clone();
    let mut optim = config.init(&model);
    let mut dense: Option<Dense> = None;
    let mut bounded = 0;
    for seed in 0..STEPS {
        let oracle =
            Jacobian::by_sample(&model, SAMPLES, |model, n| loss(model, seed, n, 1)).unwrap();
        let rows = oracle.to_dense();
        let dense = dense.get_or_insert_with(|| Dense {
            shapes: oracle
                .params()
                .iter()
                .map(|param| {
                    let dims = param.shape.as_slice();
                    let r = if dims.len() > 1 { dims[0] } else { 1 };
                    [r, param.len() / r]
                })
                .collect(),
            v: vec![0.0; oracle.columns()],
            update: vec![0.0; oracle.columns()],
        });
        let p = values(softmax(model.logits(seed, 0, SAMPLES), 1));
        let s: Vec<f64> = p
            .chunks(CLASSES)
            .zip(labels(seed, 0, SAMPLES))
            .map(|(p, label)| {
                let target = |c| f64::from(u8::from(c as i64 == label));
                p.iter()
                    .enumerate()
                    .map(|(c, p)| (p - target(c)).powi(2))
                    .sum()
            })
            .collect();
        let fisher_rows: Vec<Vec<f64>> = rows
            .iter()
            .zip(&s)
            .map(|(row, s)| row.iter().map(|x| x / s.sqrt()).collect())
            .collect();
        let gradient = combine(&rows, &[1.0; SAMPLES]);

        // Recorded twice, with the same labels: for the step, and for the rows of drawn labels.
        let record = || {
            let tape = optim.start();
            let grads = loss(&model, seed, 0, SAMPLES).backward();
            RecordedBatch::collect(tape, grads, &model, None).unwrap()
        };
        let (curvature, system, b) = match rule {
            Rule::Ief(DampedMatrix::Gram) => {
                (fisher_rows.clone(), rows.clone(), combine(&rows, &s))
            }
            Rule::Ief(_) => (fisher_rows.clone(), fisher_rows.clone(), gradient),
            Rule::Ef => (rows.clone(), rows.clone(), gradient),
            Rule::Sf | Rule::Ngd => {
                let drawn = record().all_rows().to_dense().split_off(SAMPLES);
                (drawn.clone(), drawn, gradient)
            }
        };
        dense.advance(metric, &curvature, &system, &b);

        let curvature: f64 = match rule {
            // The curvature matrix of iEF is the improved Fisher matrix, whatever is damped.
            Rule::Ief(_) => &fisher_rows,
            _ => &system,
        }
        .iter()
        .map(|row| {
            row.iter()
                .zip(&dense.update)
                .map(|(a, b)| a * b)
                .sum::<f64>()
                .powi(2)
        })
        .sum();
        let scale = radius.map_or(1.0, |radius| (2.0 * radius / curvature).sqrt().min(1.0));
        bounded += usize::from(scale < 1.0);
        let expected: Vec<f64> = dense.update.iter().map(|x| scale * x).collect();

        let before = weights(&model);
        // A short step: a fitted sample has no equation in the drawn labels' systems.
        let lr = 0.05 / norm(&expected).max(1.0);
        let stepped = optim.step_closure(lr, model, |model| loss(model, seed, 0, SAMPLES));
        model = stepped.unwrap();
        let moved = before.iter().zip(weights(&model));
        let moved: Vec<f64> = moved.map(|(a, b)| (a - b) / lr).collect();
        let error = distance(&moved, &expected);
        assert!(
            error < TOLERANCE,
            "{rule:?}, {metric:?}, step {seed}: {error:e}"
        );
    }
    if radius.is_some() {
        assert!(bounded > 0, "{rule:?}, {metric:?}");
    }
}

fn metrics() -> [UpdateMetric; 3] {
    let running = RunningSquares::default().with_power(0.4).with_decay(0.8);
    [
        UpdateMetric::Separable(running),
        UpdateMetric::PerTensor(running),
        UpdateMetric::Diagonal(running),
    ]
}

fn check_all<M: Classifier>(model: &M) {
    for rule in RULES {
        for metric in metrics() {
            check(model, rule, metric, None);
        }
    }
}

/// The exact natural gradient solves for the parameters here: there are fewer than drawn rows.
#[test]
fn a_linear_layer_is_the_dense_form() {
    check_all(&flat());
}

#[test]
fn convolutions_are_the_dense_form() {
    check_all(&pictures());
}

#[test]
fn tables_positions_and_repeated_layers_are_the_dense_form() {
    check_all(&tokens());
    check_all(&filled(Tied {
        table: EmbeddingConfig::new(CLASSES, 8).init(&device()),
    }));
}

#[test]
fn adapters_are_the_dense_form() {
    check_all(&adapted());
}

#[test]
fn the_trust_region_bounds_the_outputs() {
    for metric in metrics() {
        for rule in RULES {
            check(&flat(), rule, metric, Some(0.2));
        }
        check(&tokens(), RULES[0], metric, Some(0.2));
    }
}

/// A power of zero is the identity, whatever the squares are.
#[test]
fn no_power_is_no_metric() {
    for rule in RULES {
        let step = |metric| {
            let model = tokens();
            let mut optim = rule.config(metric).init(&model);
            let mut model = model;
            for seed in 0..2 {
                let stepped = optim.step_closure(0.1, model, |model| loss(model, seed, 0, SAMPLES));
                model = stepped.unwrap();
            }
            weights(&model)
        };
        let plain = step(UpdateMetric::Identity);
        let none = RunningSquares::default().with_power(0.0);
        for metric in [UpdateMetric::Separable(none), UpdateMetric::Diagonal(none)] {
            assert!(distance(&step(metric), &plain) < 1e-12, "{rule:?}");
        }
        let some = step(UpdateMetric::Separable(RunningSquares::default()));
        assert!(distance(&some, &plain) > 1e-4, "{rule:?}");
    }
}

/// A fitted batch keeps its update of zero, and the means stay finite for the steps after it.
#[test]
fn a_fitted_batch_leaves_the_metric_in_order() {
    for metric in metrics() {
        let mut model = flat();
        let mut config = RULES[0].config(metric);
        config.solve_mut().unwrap().momentum = Some(0.0);
        let mut optim = config.init(&model);
        for step in 0..3 {
            let before = weights(&model);
            let stepped = optim.step_closure(0.1, model, |model| {
                let logits = model.logits(step, 0, SAMPLES);
                let certain: Vec<f64> = (0..SAMPLES * CLASSES)
                    .map(|i| if i % CLASSES == 0 { 900.0 } else { -900.0 })
                    .collect();
                let certain = TensorData::new(certain, [SAMPLES, CLASSES]);
                let weight = if step == 0 { 1.0 } else { 0.0 };
                let shift = Tensor::<2>::from_data(certain, &device()) * weight;
                let z = mark_output(logits + shift);
                let labels = Tensor::<1, Int>::zeros([SAMPLES], &device());
                CrossEntropyLossConfig::new()
                    .init(&device())
                    .forward(z, labels)
            });
            model = stepped.unwrap();
            let after = weights(&model);
            assert!(after.iter().all(|x| x.is_finite()), "{metric:?}");
            assert_eq!(after == before, step == 0, "{metric:?}");
        }
    }
}
