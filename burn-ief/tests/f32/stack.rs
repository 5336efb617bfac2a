//! Micro-batches stacked into one Jacobian.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::jacobian::{GramPrecision, Jacobian};
use burn_ief::methods::{Ef, System, UpdateRule};
use burn_ief::nn::ForwardRecorded;
use burn_ief::solve::Damping;
use burn_ief::{Error, LossScale, Tape};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    last: Linear,
}

fn net(device: &Device) -> Net {
    Net {
        first: LinearConfig::new(4, 6).init(device),
        last: LinearConfig::new(6, 2).init(device),
    }
}

/// Mean over the micro-batch: its scale differs between parts of different size.
fn record(net: &Net, x: Tensor<3>) -> Jacobian {
    let tape = Tape::start();
    let hidden = relu(net.first.forward_recorded(x));
    let y = net.last.forward_recorded(hidden);
    let [m, t, c] = y.dims();
    let losses = y.square().reshape([m, t * c]).sum_dim(1);
    Jacobian::from_tape(tape, losses.mean().backward(), net).unwrap()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let square = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    square(&mut a.iter().zip(b).map(|(a, b)| a - b)) / square(&mut b.iter().copied())
}

#[test]
fn stacked_micro_batches_are_the_joint_batch() {
    let device = Device::flex().autodiff();
    let net = net(&device);
    let x = Tensor::<3>::random([9, 3, 4], Distribution::Normal(0.0, 1.0), &device);
    let joint = record(&net, x.clone());
    let parts = [(0, 4), (4, 2), (6, 3)];
    let parts = parts.map(|(start, count)| record(&net, x.clone().narrow(0, start, count)));
    let stacked = Jacobian::stack(parts).unwrap();

    assert_eq!(stacked.samples(), 9);
    let (k, expected) = (stacked.gram().unwrap(), joint.gram().unwrap());
    assert!(distance(k.values(), expected.values()) < 1e-5);
    assert!(distance(&stacked.row_norms(), &joint.row_norms()) < 1e-5);
    let c: Vec<f64> = (0..9).map(|n| f64::from(n) - 3.5).collect();
    let (a, b) = (stacked.t_matvec(&c).unwrap(), joint.t_matvec(&c).unwrap());
    let image = stacked.matvec(&b).unwrap();
    assert!(distance(&image, &joint.matvec(&a).unwrap()) < 1e-5);
    let consumed = stacked.clone().into_t_matvec(&c).unwrap();
    let (a, consumed) = (
        a.get::<2>(net.first.weight.id).unwrap(),
        consumed.get::<2>(net.first.weight.id).unwrap(),
    );
    assert_eq!(a.into_data(), consumed.into_data());

    let update = |k| {
        let system = System::from_gram(k, 9).with_damping(Damping::absolute(1e-2));
        let solution = Ef::default().solve(&system).unwrap();
        solution.into_coefficients().unwrap().values
    };
    assert!(distance(&update(k), &update(expected)) < 1e-4);

    // A slice across the boundary of two parts.
    let slice = stacked.narrow(3, 4).unwrap();
    let cross = slice.cross_gram(&joint).unwrap().concat();
    let expected: Vec<f64> = joint.gram().unwrap().values()[3 * 9..7 * 9].to_vec();
    assert!(distance(&cross, &expected) < 1e-5);
}

#[test]
fn parts_may_have_sequences_of_different_length() {
    let device = Device::flex().autodiff();
    let net = net(&device);
    let x = |m, t| Tensor::<3>::random([m, t, 4], Distribution::Normal(0.0, 1.0), &device);
    let stacked = Jacobian::stack([record(&net, x(3, 5)), record(&net, x(2, 2))]).unwrap();
    let rows = stacked.to_dense();
    let k = stacked.gram().unwrap();
    for (n, row) in rows.iter().enumerate() {
        for (m, other) in rows.iter().enumerate() {
            let product: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            assert!((k.get(n, m) - product).abs() < 1e-4 * k.get(n, n).max(k.get(m, m)));
        }
    }
}

#[test]
fn sizes_and_modules_are_checked() {
    let device = Device::flex().autodiff();
    let (one, other) = (net(&device), net(&device));
    let x = Tensor::<3>::ones([3, 1, 4], &device);
    let jacobian = record(&one, x.clone());
    let size = |error| matches!(error, Error::Size { .. });
    assert!(size(jacobian.t_matvec(&[1.0]).unwrap_err()));
    assert!(size(jacobian.narrow(2, 2).unwrap_err()));
    assert!(size(jacobian.unflatten(&[0.0]).unwrap_err()));
    assert!(size(Jacobian::stack([]).unwrap_err()));
    let foreign = record(&other, x);
    assert!(size(jacobian.cross_gram(&foreign).unwrap_err()));
    assert!(size(Jacobian::stack([jacobian, foreign]).unwrap_err()));
}

#[test]
fn precision_is_a_choice() {
    let device = Device::flex().autodiff();
    let net = net(&device);
    let x = Tensor::<3>::random([5, 2, 4], Distribution::Normal(0.0, 1.0), &device);
    let jacobian = record(&net, x);
    let narrow = jacobian.clone().with_precision(GramPrecision::F32);
    let wide = jacobian.with_precision(GramPrecision::F64);
    assert_eq!(wide.gram_epsilon(), f64::EPSILON);
    assert_eq!(narrow.gram_epsilon(), f64::from(f32::EPSILON));
    let (a, b) = (narrow.gram().unwrap(), wide.gram().unwrap());
    assert!(distance(a.values(), b.values()) < 1e-5);
    assert_ne!(a, b);
}

#[test]
fn dropped_recordings_leave_nothing_behind() {
    let device = Device::flex().autodiff();
    let net = net(&device);
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let y = net
        .first
        .forward_recorded(Tensor::<2>::ones([3, 4], &device));
    drop(tape);
    // The next recording knows nothing of the first batch of three.
    let tape = Tape::start();
    let z = net
        .first
        .forward_recorded(Tensor::<2>::ones([5, 4], &device));
    let jacobian = Jacobian::from_tape(tape, z.sum().backward(), &net).unwrap();
    assert_eq!(jacobian.samples(), 5);
    drop(y);
}
