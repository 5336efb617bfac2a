//! Recorded linear layers against one backward pass per sample, in f64: the row of a sample that the
//! model is sure of is a difference of nearly equal numbers.

use crate::double;

use burn::module::{Lora, Module};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Int, Tensor};
use burn_ief::Error;
use burn_ief::jacobian::{Jacobian, RecordedBatch};
use burn_ief::prelude::*;

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    hidden: Linear,
    last: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(6, 5).init(device),
            hidden: LinearConfig::new(5, 5).with_bias(false).init(device),
            last: LinearConfig::new(5, 3).init(device),
        }
    }

    /// The hidden layer is used twice, over a sequence.
    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let x = relu(self.first.forward_recorded(x));
        let x = relu(self.hidden.forward_recorded(x));
        let x = self.hidden.forward_recorded(x);
        let [m, _, d] = x.dims();
        self.last.forward_recorded(x.mean_dim(1).reshape([m, d]))
    }
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

/// Far above the rounding of f64, far below that of f32.
const TOLERANCE: f64 = 1e-9;

/// ‖a − b‖ / ‖b‖, absolute where b is zero.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    // The row of a sample that activates no unit is zero.
    match norm(&mut b.iter().copied()) {
        0.0 => difference,
        size => difference / size,
    }
}

fn compare(model: &Mlp, device: &Device) {
    let (x, y) = batch(device);
    let tape = Tape::start();
    let loss = cross_entropy(mark_output(model.forward(x.clone())), y.clone());
    let recorded = RecordedBatch::collect(tape, loss.backward(), model, None).unwrap();
    let jacobian = recorded.jacobian();
    let oracle = Jacobian::by_sample(model, 7, |model, n| {
        let x = x.clone().narrow(0, n, 1);
        cross_entropy(model.forward(x), y.clone().narrow(0, n, 1))
    })
    .unwrap();

    assert_eq!(jacobian.columns(), oracle.columns());
    assert!(jacobian.unused().is_empty());
    let (rows, expected) = (jacobian.to_dense(), oracle.to_dense());
    for (row, expected) in rows.iter().zip(&expected) {
        assert!(
            distance(row, expected) < TOLERANCE,
            "{}",
            distance(row, expected)
        );
    }
    let (k, expected) = (jacobian.gram().unwrap(), oracle.gram().unwrap());
    assert!(distance(k.values(), expected.values()) < TOLERANCE);
    assert!(distance(&jacobian.row_norms(), &oracle.row_norms()) < TOLERANCE);
    let c = [0.3, -1.0, 2.0, 0.0, 0.5, 1.0, -0.25];
    let v = jacobian.t_matvec(&c).unwrap();
    let image = jacobian.matvec(&v).unwrap();
    assert!(distance(&image, &expected.mul(&c)) < TOLERANCE);
    let cross = jacobian.cross_gram(&oracle).unwrap().concat();
    assert!(distance(&cross, expected.values()) < TOLERANCE);
}

#[test]
fn rows_match_one_backward_per_sample() {
    let device = double::device();
    device.seed(1);
    compare(&Mlp::new(&device), &device);
}

#[test]
fn rows_match_under_gradient_checkpointing() {
    let device = double::device().gradient_checkpointing();
    device.seed(2);
    compare(&Mlp::new(&device), &device);
}

#[test]
fn rows_match_with_burns_lora_adapters() {
    let device = double::device();
    device.seed(3);
    let mut model = Mlp::new(&device).apply_lora(Lora::new(2, 4.0));
    // B starts at zero; move it so that A has a gradient.
    model = model.map(&mut Shake);
    compare(&model, &device);
}

/// A base that trains next to its adapter has no rule: it must not be left without an update.
#[test]
fn a_base_that_trains_next_to_burns_adapter_is_an_error() {
    struct Thaw;
    impl burn::module::ModuleMapper for Thaw {
        fn map_float<const D: usize>(
            &mut self,
            param: burn::module::Param<Tensor<D>>,
        ) -> burn::module::Param<Tensor<D>> {
            param.set_require_grad(true)
        }
    }
    let device = double::device();
    let model = Mlp::new(&device)
        .apply_lora(Lora::new(2, 4.0))
        .map(&mut Thaw);
    let (x, y) = batch(&device);
    let tape = Tape::start();
    let loss = cross_entropy(model.forward(x), y);
    let error = Jacobian::from_tape(tape, loss.backward(), &model).unwrap_err();
    match error {
        Error::UnrecordedUse { parameters } => {
            assert!(
                parameters.iter().any(|path| path.contains("first")),
                "{parameters:?}"
            );
        }
        other => panic!("{other}"),
    }
}

struct Shake;

impl burn::module::ModuleMapper for Shake {
    fn map_float<const D: usize>(
        &mut self,
        param: burn::module::Param<Tensor<D>>,
    ) -> burn::module::Param<Tensor<D>> {
        let active = param.is_require_grad();
        param.map(|value| {
            let noise = value.random_like(Distribution::Normal(0.0, 0.3));
            (value + noise).detach().set_require_grad(active)
        })
    }
}

#[test]
fn an_unrecorded_use_is_an_error_with_the_path() {
    let device = double::device();
    let model = Mlp::new(&device);
    let (x, y) = batch(&device);
    let tape = Tape::start();
    let hidden = model.first.forward(x).mean_dim(1).reshape([7, 5]);
    let loss = cross_entropy(model.last.forward_recorded(hidden), y);
    let error = Jacobian::from_tape(tape, loss.backward(), &model).unwrap_err();
    let parameters = vec!["first.weight".to_string(), "first.bias".to_string()];
    assert_eq!(error, Error::UnrecordedUse { parameters });
}

#[test]
fn a_wrong_loss_scale_is_an_error() {
    let device = double::device();
    let model = Mlp::new(&device);
    let (x, y) = batch(&device);
    let mut ief = IefConfig::new().init(&model);
    let tape = ief.start().with_loss_scale(LossScale::Sum);
    let loss = cross_entropy(mark_output(model.forward(x)), y);
    let error = ief.gradients(tape, loss.backward(), &model).unwrap_err();
    match error {
        Error::LossScale { declared, found } => {
            assert_eq!(declared, 1.0);
            assert!((found - 1.0 / 7.0).abs() < TOLERANCE, "{found}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn four_of_many_labels_show_a_wrong_loss_scale() {
    let device = double::device();
    let model = LinearConfig::new(6, 6).init(&device);
    let error = |labels: [i64; 7]| {
        let x = Tensor::<2>::random([7, 6], Distribution::Normal(0.0, 1.0), &device);
        let mut ief = IefConfig::new().init(&model);
        let tape = ief.start().with_loss_scale(LossScale::Sum);
        let labels = Tensor::from_data(labels, &device);
        let loss = cross_entropy(mark_output(model.forward_recorded(x)), labels);
        ief.gradients(tape, loss.backward(), &model).err()
    };
    assert!(matches!(
        error([0, 2, 1, 4, 0, 2, 2]),
        Some(Error::LossScale { .. })
    ));
    assert_eq!(error([0, 2, 1, 1, 0, 2, 2]), None);
}

#[test]
fn classes_that_share_a_weight_do_not_contradict_the_loss_scale() {
    let device = double::device();
    let model = Mlp::new(&device);
    let (x, _) = batch(&device);
    // A batch without the class that is common and weighs less.
    let labels = Tensor::from_data([1, 2, 1, 1, 2, 2, 2], &device);
    let total = 5.0 * 7.0;
    let mut ief = IefConfig::new().init(&model);
    let scale = LossScale::Factor(1.0 / total);
    let tape = ief.start().with_loss_scale(scale);
    let loss = CrossEntropyLossConfig::new()
        .with_weights(Some(vec![1.0, 5.0, 5.0]))
        .init(&device)
        .forward(mark_output(model.forward(x)), labels);
    assert!(ief.gradients(tape, loss.backward(), &model).is_ok());
}

#[test]
fn a_nested_recording_poisons_both() {
    let outer = Tape::start();
    let device = double::device();
    let model = LinearConfig::new(2, 1).init(&device);
    let x = Tensor::<2>::ones([3, 2], &device);
    let inner = Tape::start();
    let grads = model.forward_recorded(x.clone()).sum().backward();
    assert_eq!(
        Jacobian::from_tape(inner, grads, &model).unwrap_err(),
        Error::NestedRecording
    );
    let grads = model.forward_recorded(x).sum().backward();
    assert_eq!(
        Jacobian::from_tape(outer, grads, &model).unwrap_err(),
        Error::NestedRecording
    );
    // Both are over: the next one is clean.
    let tape = Tape::start();
    let grads = model
        .forward_recorded(Tensor::<2>::ones([3, 2], &device))
        .sum()
        .backward();
    assert!(Jacobian::from_tape(tape, grads, &model).is_ok());
}

#[test]
fn a_batch_mismatch_names_the_parameter() {
    let device = double::device();
    let model = Mlp::new(&device);
    let (x, y) = batch(&device);
    let tape = Tape::start();
    let hidden = model
        .first
        .forward_recorded(x.reshape([28, 6]))
        .reshape([7, 4, 5]);
    let hidden = hidden.mean_dim(1).reshape([7, 5]);
    let loss = cross_entropy(model.last.forward_recorded(hidden), y);
    let error = Jacobian::from_tape(tape, loss.backward(), &model).unwrap_err();
    let expected = Error::BatchMismatch {
        parameter: "last.weight".into(),
        expected: 28,
        found: 7,
    };
    assert_eq!(error, expected);
}
