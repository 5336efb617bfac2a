//! Recorded rows and products against one backward pass per sample.

use std::ops::Range;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use burn_ief::jacobian::{Jacobian, validate};
use burn_ief::{LossScale, Tape};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::TOLERANCE;

/// Standard normal entries that depend on `seed` alone.
pub fn noise<const D: usize>(dims: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f64> = (0..dims.iter().product())
        .map(|_| StandardNormal.sample(&mut generator))
        .collect();
    Tensor::from_data(TensorData::new(values, dims), device)
}

/// Give every parameter normal entries, and train those whose bit is set, or all if none is.
pub fn filled<M: Module>(module: M, seed: u64, trained: u64) -> M {
    struct Fill {
        seed: u64,
        trained: u64,
        index: u32,
    }
    impl ModuleMapper for Fill {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let trains = self.trained >> (self.index % 64) & 1 == 1;
            self.index += 1;
            let seed = self.seed.wrapping_add(u64::from(self.index));
            let param = param.map(|value| noise(value.dims(), seed, &value.device()) * 0.7);
            param.set_require_grad(trains)
        }
    }
    let count = parameters(&module);
    let mask = u64::MAX >> (64 - count.clamp(1, 64));
    let trained = match trained & mask {
        0 => u64::MAX,
        some => some,
    };
    module.map(&mut Fill {
        seed,
        trained,
        index: 0,
    })
}

fn parameters<M: Module>(module: &M) -> u32 {
    struct Count(u32);
    impl burn::module::ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, _param: &Param<Tensor<D>>) {
            self.0 += 1;
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}

/// A sum of tanh with other weights for every sample and entry, and zero where `weights` are zero.
pub fn score<const D: usize>(y: Tensor<D>, weights: Tensor<D>) -> Tensor<1> {
    (y.tanh() * weights).sum()
}

pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_to_vec().unwrap()
}

#[track_caller]
pub fn close(a: &[f64], b: &[f64]) {
    close_to(a, b, TOLERANCE);
}

#[track_caller]
pub fn close_to(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut b.iter().copied());
    let distance = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    assert!(
        distance <= tolerance * size,
        "{distance:e} against a norm of {size:e}"
    );
}

/// `loss` is the summed loss of the samples in a range. Outside of a recording it calls Burn's own
/// forward pass.
#[track_caller]
pub fn check<M: Module>(
    model: &M,
    samples: usize,
    loss: impl Fn(&M, Range<usize>) -> Tensor<1>,
) -> Jacobian {
    // Parameter by parameter.
    validate(model, samples, TOLERANCE, &loss).unwrap();

    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let grads = loss(model, 0..samples).backward();
    let jacobian = Jacobian::from_tape(tape, grads, model).unwrap();
    let oracle = Jacobian::by_sample(model, samples, |model, n| loss(model, n..n + 1)).unwrap();
    let k = oracle.gram().unwrap();
    close(jacobian.gram().unwrap().values(), k.values());
    close(&jacobian.row_norms(), &oracle.row_norms());
    let c: Vec<f64> = (0..samples).map(|n| (n as f64 * 1.7).cos()).collect();
    let v = oracle.t_matvec(&c).unwrap();
    close(&jacobian.matvec(&v).unwrap(), &k.mul(&c));
    let v = jacobian.t_matvec(&c).unwrap();
    close(&oracle.matvec(&v).unwrap(), &k.mul(&c));
    jacobian
}

/// What `forward` returns in a recording against what it returns outside of one.
#[track_caller]
pub fn same_outputs<const D: usize>(forward: impl Fn() -> Tensor<D>) {
    let outside = values(forward());
    let tape = Tape::start();
    let inside = values(forward());
    drop(tape);
    close(&inside, &outside);
}
