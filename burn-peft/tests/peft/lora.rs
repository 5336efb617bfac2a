//! The adapted linear layer: records, merges, drops.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ModuleMapper, Param, ParamGroup};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::gelu;
use burn::tensor::{DType, Device, Distribution, Int, Tensor};
use burn_ief::LabelDraw;
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::prelude::*;
use burn_peft::{LoraConfig, LoraLinear};

/// Two adapted layers over a sequence, the second without a base bias and used twice.
#[derive(Module, Debug)]
struct Net {
    first: LoraLinear,
    second: LoraLinear,
    head: Linear,
}

impl Net {
    fn new(config: &LoraConfig, device: &Device) -> Self {
        let net = Self {
            first: config.init(LinearConfig::new(6, 5).init(device)),
            second: config.init(LinearConfig::new(5, 5).with_bias(false).init(device)),
            head: LinearConfig::new(5, 3).init(device),
        };
        // B starts at zero; move it so that A has a gradient.
        net.map(&mut Shake)
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let x = gelu(self.first.forward(x));
        let x = gelu(self.second.forward(x));
        let x = self.second.forward(x);
        let [m, _, d] = x.dims();
        self.head.forward_recorded(x.mean_dim(1).reshape([m, d]))
    }
}

struct Shake;

impl ModuleMapper for Shake {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let active = param.is_require_grad();
        param.map(|value| {
            let noise = value.random_like(Distribution::Normal(0.0, 0.3));
            (value + noise).detach().set_require_grad(active)
        })
    }
}

/// Flex has one random state per process: tests that draw from it take turns, or their seeds would
/// mean nothing.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn batch(device: &Device) -> (Tensor<3>, Tensor<1, Int>) {
    let x = Tensor::random([7, 4, 6], Distribution::Normal(0.0, 1.0), device);
    (x, Tensor::from_data([0, 2, 1, 1, 0, 2, 2], device))
}

fn cross_entropy(logits: Tensor<2>, labels: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new()
        .init(&logits.device())
        .forward(logits, labels)
}

fn largest<const D: usize>(x: Tensor<D>) -> f64 {
    x.abs().max().into_scalar::<f32>() as f64
}

/// Recorded rows against one backward pass per sample outside a recording.
fn compare(net: &Net, columns: usize, device: &Device) {
    let (x, y) = batch(device);
    let tape = Tape::start();
    let loss = cross_entropy(mark_output(net.forward(x.clone())), y.clone());
    let recorded = RecordedBatch::collect(tape, loss.backward(), net, None).unwrap();
    let jacobian = recorded.jacobian();
    let oracle = Jacobian::by_sample(net, 7, |net, n| {
        let x = x.clone().narrow(0, n, 1);
        cross_entropy(net.forward(x), y.clone().narrow(0, n, 1))
    })
    .unwrap();
    assert_eq!(jacobian.columns(), columns);
    assert_eq!(jacobian.columns(), oracle.columns());
    assert!(jacobian.unused().is_empty());
    // Rounding of f32, relative to the longest row: a short one is a difference of larger terms.
    let longest = oracle.row_norms().into_iter().fold(0.0, f64::max);
    for (row, expected) in jacobian.to_dense().iter().zip(oracle.to_dense()) {
        let squares = row.iter().zip(&expected).map(|(a, b)| (a - b).powi(2));
        let difference = squares.sum::<f64>().sqrt() / longest;
        assert!(difference < 1e-5, "{difference}");
    }
}

/// A and B of both layers at rank 2, and the head.
const FACTORS: usize = (6 + 5) * 2 + (5 + 5) * 2 + 5 * 3 + 3;

#[test]
fn rows_match_one_backward_per_sample() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(1);
    let net = Net::new(&LoraConfig::new().with_r(2), &device);
    compare(&net, FACTORS, &device);
}

#[test]
fn rows_match_under_gradient_checkpointing() {
    let _turn = alone();
    let device = Device::flex().autodiff().gradient_checkpointing();
    device.seed(2);
    let net = Net::new(&LoraConfig::new().with_r(2), &device);
    compare(&net, FACTORS, &device);
}

#[test]
fn rows_match_with_trainable_base_parameters_or_a_frozen_factor() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(3);
    let net = Net::new(&LoraConfig::new().with_r(2), &device);

    let biased = ParamGroup::from_path("first.base.bias");
    let lora_only = net.clone().set_require_grad_group(biased, true);
    compare(&lora_only, FACTORS + 5, &device);

    let full = net.clone().set_require_grad(true);
    compare(&full, FACTORS + 6 * 5 + 5 + 5 * 5, &device);

    let frozen_b = ParamGroup::from_paths(vec!["first.adapter.b", "second.adapter.b"]);
    let only_a = net.clone().set_require_grad_group(frozen_b, false);
    compare(&only_a, FACTORS - 2 * 5 - 2 * 5, &device);

    let frozen_a = ParamGroup::from_paths(vec!["first.adapter.a", "second.adapter.a"]);
    let only_b = net.set_require_grad_group(frozen_a, false);
    compare(&only_b, FACTORS - 6 * 2 - 5 * 2, &device);
}

#[test]
fn a_recording_does_not_change_the_output() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(4);
    let net = Net::new(&LoraConfig::new().with_r(2), &device);
    let (x, _) = batch(&device);
    let plain = net.forward(x.clone());
    let tape = Tape::start();
    let recorded = net.forward(x);
    drop(tape);
    assert!(largest(recorded - plain) < 1e-6);
}

#[test]
fn a_new_adapter_changes_nothing_and_a_merged_one_computes_the_same() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(5);
    let base = LinearConfig::new(6, 5).init(&device);
    let x = Tensor::<3>::random([3, 4, 6], Distribution::Normal(0.0, 1.0), &device);
    let before = base.forward(x.clone());
    let config = LoraConfig::new().with_r(3).with_lora_alpha(6.0);
    let adapted = config.init(base.clone());
    assert!(largest(adapted.forward(x.clone()) - before.clone()) < 1e-6);
    // Kaiming: uniform within ±1/√6, and not degenerate.
    let a = largest(adapted.adapter.a.val());
    assert!(a <= 1.0 / 6f64.sqrt() + 1e-6 && a > 0.2, "{a}");

    let shaken = adapted.map(&mut Shake);
    let y = shaken.forward(x.clone());
    let off = shaken.clone().with_enabled(false);
    let merged = shaken.clone().merge().unwrap();
    assert!(!merged.weight.is_require_grad());
    assert_eq!(merged.weight.id, base.weight.id);
    // 1e-6 is rounding in f32 for values of this size.
    assert!(largest(merged.forward(x.clone()) - y.clone()) < 4e-6);
    assert!(largest(y - off.forward(x.clone())) > 0.1);
    let without = shaken.base.clone().forward(x.clone());
    assert!(largest(off.clone().merge().unwrap().forward(x.clone()) - without) == 0.0);

    // The same on a device without autodiff.
    let valid = shaken.valid();
    let x = x.inner();
    let y = valid.forward(x.clone());
    assert!(largest(valid.merge().unwrap().forward(x) - y) < 4e-6);
}

#[test]
fn a_disabled_adapter_is_reported_as_unused() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    let mut net = Net::new(&LoraConfig::new().with_r(2), &device);
    net.first.enabled = false;
    let (x, y) = batch(&device);
    let mut optim = IefConfig::new().init(&net);
    let tape = optim.start();
    let loss = cross_entropy(mark_output(net.forward(x)), y);
    let step = optim.step_with_report(0.5, net, tape, loss.backward());
    let (_, report) = step.unwrap();
    assert_eq!(report.unused, ["first.adapter.a", "first.adapter.b"]);
}

#[test]
fn dropout_drops_the_adapters_input_alone() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(6);
    let config = LoraConfig::new().with_r(2).with_lora_dropout(0.5);
    let layer = config.init(LinearConfig::new(6, 5).init(&device));
    let x = Tensor::<2>::random([400, 6], Distribution::Normal(0.0, 1.0), &device);
    // B is zero: whatever is dropped, the base's output stays.
    let before = layer.base.forward(x.clone());
    assert!(largest(layer.forward(x.clone()) - before.clone()) < 1e-6);

    let layer = layer.map(&mut Shake);
    let random = layer.forward(x.clone());
    let valid = layer.valid().forward(x.inner());
    assert!(largest(random.inner() - valid) > 0.1);
}

#[test]
fn copies_with_drawn_labels_share_the_mask() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(7);
    let config = LoraConfig::new().with_r(2).with_lora_dropout(0.5);
    let net = Net::new(&config, &device);
    let (x, y) = batch(&device);
    let tape = Tape::with_drawn_labels(LabelDraw::sample(1, 3, 0));
    let x = burn_ief::expand_input(x);
    let logits = net.forward(x);
    assert_eq!(logits.dims(), [14, 3]);
    let [truth, copy] = [0, 7].map(|start| logits.clone().narrow(0, start, 7));
    assert!(largest(truth - copy) < 1e-6);
    let loss = mark_loss(cross_entropy(mark_output(logits), y));
    let recorded = RecordedBatch::collect(tape, loss.backward(), &net, None).unwrap();
    assert_eq!(recorded.samples(), 7);
}

#[test]
fn rows_of_drawn_labels_are_the_batchs_where_the_labels_agree() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(8);
    let net = Net::new(&LoraConfig::new().with_r(2), &device);
    let (x, y) = batch(&device);
    let mut agreed = [false; 2];
    for step in 0..3 {
        let tape = Tape::with_drawn_labels(LabelDraw::sample(1, 0, step));
        let logits = mark_output(net.forward(burn_ief::expand_input(x.clone())));
        let grads = mark_loss(cross_entropy(logits, y.clone())).backward();
        let recorded = RecordedBatch::collect(tape, grads, &net, None).unwrap();
        let dense = recorded.all_rows().to_dense();
        // Relative to the largest row: p − 1 of a well-fitted sample has few digits of its own.
        let norms = recorded.all_rows().row_norms();
        let largest = norms.into_iter().fold(0.0, f64::max);
        for (n, same) in recorded.label_matches().unwrap().into_iter().enumerate() {
            let squares = dense[7 + n]
                .iter()
                .zip(&dense[n])
                .map(|(a, b)| (a - b).powi(2));
            let difference = squares.sum::<f64>().sqrt() / largest;
            assert_eq!(difference < 1e-5, same, "sample {n}: {difference}");
            agreed[usize::from(same)] = true;
        }
    }
    // Both cases were met.
    assert_eq!(agreed, [true; 2]);
}

#[test]
fn a_half_precision_base_takes_adapters_in_f32() {
    let _turn = alone();
    let device = Device::flex().autodiff();
    device.seed(9);
    let layer = LoraConfig::new()
        .with_r(2)
        .init(LinearConfig::new(6, 5).init(&device))
        .map(&mut Shake);
    let half = Linear {
        weight: layer
            .base
            .weight
            .clone()
            .map(|w| w.cast(DType::BF16).detach()),
        bias: layer
            .base
            .bias
            .clone()
            .map(|b| b.map(|b| b.cast(DType::BF16).detach())),
    };
    let base = half.no_grad();
    let mut half = layer.clone();
    half.base = base;
    let x = Tensor::<2>::random([7, 6], Distribution::Normal(0.0, 1.0), &device);
    let expected = layer.forward(x.clone());
    let tape = Tape::start();
    let y = half.forward(x.cast(DType::BF16));
    assert_eq!(y.dtype(), DType::BF16);
    let y = y.cast(DType::F32);
    // bf16 keeps 8 bits: 2^-8 of values up to about 5.
    assert!(largest(y.clone() - expected) < 0.05);
    let grads = y.sum_dim(1).mean().backward();
    let jacobian = Jacobian::from_tape(tape, grads, &half).unwrap();
    assert_eq!(jacobian.columns(), (6 + 5) * 2);
    assert!(jacobian.row_norms().iter().all(|norm| *norm > 0.0));
}
