//! Recorded layers against one backward pass per sample, and against Burn's own forward passes.

mod batch_norm;
mod conv;
mod drawn;
mod embedding;
mod half;
mod norm;
mod transformer;
mod wrappers;

use std::ops::Range;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use burn_ief::jacobian::{Jacobian, validate};
use burn_ief::{LossScale, Tape};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Samples of every batch here.
const SAMPLES: usize = 5;

/// The devices that every layer is tested on.
fn devices() -> [Device; 2] {
    let device = Device::flex().autodiff();
    [device.clone(), device.gradient_checkpointing()]
}

/// Standard normal entries that depend on `seed` alone.
fn noise<const D: usize>(dims: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..dims.iter().product())
        .map(|_| StandardNormal.sample(&mut generator))
        .collect();
    Tensor::from_data(TensorData::new(values, dims), device)
}

/// Give every parameter normal entries, so that none sits at zero or one.
fn filled<M: Module>(module: M, seed: u64) -> M {
    struct Fill(u64);
    impl ModuleMapper for Fill {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let trains = param.is_require_grad();
            param.map(|value| {
                let values = noise(value.dims(), self.0, &value.device()) * 0.6;
                values.set_require_grad(trains)
            })
        }
    }
    module.map(&mut Fill(seed))
}

fn frozen<const D: usize>(param: Param<Tensor<D>>) -> Param<Tensor<D>> {
    param.set_require_grad(false)
}

/// A loss without symmetries: a weighted sum of tanh, other weights for every sample and entry.
fn score<const D: usize>(y: Tensor<D>, samples: Range<usize>) -> Tensor<1> {
    let mut dims = y.dims();
    assert_eq!(dims[0], samples.len());
    dims[0] = SAMPLES;
    let weights = noise(dims, 77, &y.device()).slice([samples]);
    (y.tanh() * weights).sum()
}

/// ‖a − b‖ / ‖b‖.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut b.iter().copied());
    assert!(size > 0.0, "nothing to compare with");
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / size
}

#[track_caller]
fn close(a: &[f64], b: &[f64]) {
    let distance = distance(a, b);
    assert!(distance < 1e-5, "{distance:e}");
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

#[track_caller]
fn same_bits<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
    a.into_data().assert_eq(&b.into_data(), true);
}

/// Every product of the recorded Jacobian against that from one backward pass per sample.
///
/// `loss` is the summed loss of the samples in a range.
#[track_caller]
fn check<M: Module>(model: &M, loss: impl Fn(&M, Range<usize>) -> Tensor<1>) -> Jacobian {
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let total = loss(model, 0..SAMPLES);
    let recorded_loss = values(total.clone());
    let jacobian = Jacobian::from_tape(tape, total.backward(), model).unwrap();
    let oracle = Jacobian::by_sample(model, SAMPLES, |model, n| loss(model, n..n + 1)).unwrap();
    close(&recorded_loss, &values(loss(model, 0..SAMPLES)));

    assert_eq!(jacobian.unused(), Vec::<String>::new());
    assert_eq!(jacobian.columns(), oracle.columns());
    let (rows, expected) = (jacobian.to_dense(), oracle.to_dense());
    for (row, expected) in rows.iter().zip(&expected) {
        close(row, expected);
    }
    // Parameter by parameter: a small one cannot hide behind the others.
    validate(model, SAMPLES, 1e-4, &loss).unwrap();

    let k = oracle.gram().unwrap();
    close(jacobian.gram().unwrap().values(), k.values());
    close(&jacobian.cross_gram(&oracle).unwrap().concat(), k.values());
    close(&jacobian.row_norms(), &oracle.row_norms());
    let c = [0.3, -1.0, 2.0, 0.0, 0.5];
    let v = oracle.t_matvec(&c).unwrap();
    close(&jacobian.matvec(&v).unwrap(), &k.mul(&c));
    let v = jacobian.t_matvec(&c).unwrap();
    close(&oracle.matvec(&v).unwrap(), &k.mul(&c));
    let v = jacobian.clone().into_t_matvec(&c).unwrap();
    close(&oracle.matvec(&v).unwrap(), &k.mul(&c));
    let half = jacobian.narrow(1, 3).unwrap();
    close(&half.to_dense().concat(), &expected[1..4].concat());
    jacobian
}

/// Run `forward` outside a recording and inside of one.
fn outside_and_inside<T>(forward: impl Fn() -> T) -> (T, T) {
    let outside = forward();
    let tape = Tape::start();
    let inside = forward();
    drop(tape);
    (outside, inside)
}
