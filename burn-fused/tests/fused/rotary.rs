//! Rotary positions.

use burn::nn::RotaryEncodingConfig;
use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_flex_fused::{RotaryPairs, rotary};
use proptest::prelude::*;

use crate::harness::{Case, check, config, host, numbers};

/// Cosines and sines for drawn angles.
fn angles(shape: [usize; 3], seed: u64, like: &Tensor<3>) -> [Tensor<3>; 2] {
    let all = numbers(shape.iter().product(), 3.0, seed);
    let tensor = |f: fn(f64) -> f64| {
        let all: Vec<f64> = all.iter().map(|x| f64::from(f(*x) as f32)).collect();
        Tensor::from_data(TensorData::new(all, shape), (&Device::flex(), like.dtype()))
    };
    [tensor(f64::cos), tensor(f64::sin)]
}

/// Entry by entry.
fn composed(
    x: Tensor<3>,
    [cos, sin]: [Tensor<3>; 2],
    heads: usize,
    pairs: RotaryPairs,
) -> Tensor<3> {
    let [samples, positions, columns] = x.dims();
    let [of_samples, _, half] = cos.dims();
    let expanded = |angle: Tensor<3>, at: usize| {
        let angle = angle.narrow(2, at, 1);
        assert!(of_samples == 1 || of_samples == samples);
        angle.expand([samples, positions, 1])
    };
    let width = columns / heads;
    let mut out: Vec<Tensor<3>> = (0..columns).map(|at| x.clone().narrow(2, at, 1)).collect();
    for head in 0..heads {
        for pair in 0..half {
            let (a, b) = match pairs {
                RotaryPairs::Halves => (pair, pair + half),
                _ => (2 * pair, 2 * pair + 1),
            };
            let (a, b) = (head * width + a, head * width + b);
            let (first, second) = (out[a].clone(), out[b].clone());
            let (cos, sin) = (expanded(cos.clone(), pair), expanded(sin.clone(), pair));
            out[a] = first.clone() * cos.clone() - second.clone() * sin.clone();
            out[b] = second * cos + first * sin;
        }
    }
    Tensor::cat(out, 2)
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn pairs_turn(
        [samples, positions, heads] in [1usize..4, 1usize..6, 1usize..4],
        half in 1usize..5,
        rest in 0usize..3,
        shared in any::<bool>(),
        halves in any::<bool>(),
        seed in 0u64..1000,
    ) {
        let width = 2 * half + rest;
        let columns = heads * width;
        let pairs = if halves { RotaryPairs::Halves } else { RotaryPairs::Neighbours };
        let of_samples = if shared { 1 } else { samples };
        let case = Case::random(&[samples * positions * columns], 3.0, seed);
        let run = |x: &[Tensor<1>], fused: bool| {
            let x = x[0].clone().reshape([samples, positions, columns]);
            let [cos, sin] = angles([of_samples, positions, half], seed, &x);
            let y = if fused {
                rotary(x, cos, sin, heads, pairs)
            } else {
                composed(x, [cos, sin], heads, pairs)
            };
            y.flatten(0, 2)
        };
        check(&case, &|x| run(x, true), &|x| run(x, false));
        // Angles that are tracked take the fallback, which is the same.
        let tracked = |x: &[Tensor<1>]| {
            let x = x[0].clone().reshape([samples, positions, columns]);
            let [cos, sin] = angles([of_samples, positions, half], seed, &x);
            let zero = Tensor::<3>::zeros([1; 3], (&x.device(), x.dtype())).require_grad();
            let [cos, sin] = [cos, sin].map(|angle| angle + zero.clone());
            rotary(x, cos, sin, heads, pairs).flatten(0, 2)
        };
        check(&case, &tracked, &|x| run(x, false));
    }
}

#[test]
fn neighbours_are_burns_pairs() {
    let device = Device::flex();
    let encoding = RotaryEncodingConfig::new(10, 4).init(&device);
    let x = Tensor::<1>::from_data(
        TensorData::new(numbers(40, 1.0, 3), [40]),
        (&device, DType::F32),
    );
    let x: Tensor<3> = x.reshape([2, 5, 4]);
    let table = encoding.freq_complex.clone().narrow(0, 0, 5);
    // One angle for each pair: every other row of the table.
    let part = |at| {
        let all: Tensor<3> = table.clone().narrow(2, at, 1).reshape([5, 2, 2]);
        all.narrow(2, 0, 1).reshape([1, 5, 2])
    };
    let y = rotary(x.clone(), part(0), part(1), 1, RotaryPairs::Neighbours);
    let difference = y - encoding.forward(x);
    assert!(host(difference).iter().all(|x| x.abs() < 1e-6));
}

#[test]
#[should_panic(expected = "rotary: expected sin [2 or 1, 3, 2], found [1, 4, 2]")]
fn shapes_are_checked() {
    let device = Device::flex();
    let angles = |positions| Tensor::zeros([1, positions, 2], &device);
    let x = Tensor::zeros([2, 3, 8], &device);
    let _ = rotary(x, angles(3), angles(4), 2, RotaryPairs::Halves);
}
