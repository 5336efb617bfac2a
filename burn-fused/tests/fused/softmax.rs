//! Softmax, its logarithm, and the cross-entropy.

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation};
use burn_flex_fused::{cross_entropy, log_softmax, softmax};
use proptest::prelude::*;

use crate::harness::{Case, check, check_large, config, host};

fn along_rows(x: &[Tensor<1>], width: usize, f: impl Fn(Tensor<2>) -> Tensor<2>) -> Tensor<1> {
    let rows = x[0].dims()[0] / width;
    f(x[0].clone().reshape([rows, width])).flatten(0, 1)
}

fn targets(rows: usize, classes: usize, seed: u64, ignore: bool) -> Vec<i64> {
    let draw = |row: usize| {
        let number = (row as u64 * 7 + seed) % (classes as u64 + u64::from(ignore));
        if number == classes as u64 {
            -100
        } else {
            number as i64
        }
    };
    (0..rows).map(draw).collect()
}

/// By Burn's own operations.
fn composed(logits: Tensor<2>, targets: &[i64]) -> Tensor<1> {
    let device = logits.device();
    let rows = targets.len();
    let kept: Vec<f64> = targets
        .iter()
        .map(|t| f64::from(u8::from(*t >= 0)))
        .collect();
    let kept = Tensor::from_data(TensorData::new(kept, [rows]), (&device, logits.dtype()));
    let classes: Vec<i64> = targets.iter().map(|t| (*t).max(0)).collect();
    let classes = Tensor::<2, Int>::from_data(TensorData::new(classes, [rows, 1]), &device);
    let picked = activation::log_softmax(logits, 1).gather(1, classes);
    picked.reshape([rows]).neg() * kept
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn rows_are_burns(
        rows in 1usize..40,
        width in 1usize..70,
        size in 0.1f64..30.0,
        seed in 0u64..1000,
    ) {
        let case = Case::random(&[rows * width], size, seed);
        check(
            &case,
            &|x| along_rows(x, width, softmax),
            &|x| along_rows(x, width, |x| activation::softmax(x, 1)),
        );
        check(
            &case,
            &|x| along_rows(x, width, log_softmax),
            &|x| along_rows(x, width, |x| activation::log_softmax(x, 1)),
        );
    }

    #[test]
    fn losses_are_burns(
        rows in 1usize..40,
        classes in 1usize..70,
        size in 0.1f64..30.0,
        seed in 0u64..1000,
        ignore in any::<bool>(),
    ) {
        let case = Case::random(&[rows * classes], size, seed);
        let targets = targets(rows, classes, seed, ignore);
        let fused = |x: &[Tensor<1>]| {
            let logits = x[0].clone().reshape([rows, classes]);
            let data = TensorData::new(targets.clone(), [rows]);
            let targets = Tensor::<1, Int>::from_data(data, &logits.device());
            cross_entropy(logits, targets, ignore.then_some(-100))
        };
        let own = |x: &[Tensor<1>]| composed(x[0].clone().reshape([rows, classes]), &targets);
        check(&case, &fused, &own);
    }
}

#[test]
fn errors_in_f32_are_not_above_burns() {
    let case = Case::random(&[300 * 150], 8.0, 6);
    check_large(&case, &|x| along_rows(x, 150, softmax), &|x| {
        along_rows(x, 150, |x| activation::softmax(x, 1))
    });
    check_large(&case, &|x| along_rows(x, 150, log_softmax), &|x| {
        along_rows(x, 150, |x| activation::log_softmax(x, 1))
    });
    let targets = targets(300, 150, 5, false);
    let fused = |x: &[Tensor<1>]| {
        let logits = x[0].clone().reshape([300, 150]);
        let data = TensorData::new(targets.clone(), [300]);
        let targets = Tensor::<1, Int>::from_data(data, &logits.device());
        cross_entropy(logits, targets, None)
    };
    check_large(&case, &fused, &|x| {
        composed(x[0].clone().reshape([300, 150]), &targets)
    });
}

#[test]
fn a_large_table_and_strided_rows() {
    let case = Case::random(&[20 * 2000], 4.0, 1);
    let targets = targets(20, 2000, 5, false);
    let fused = |x: &[Tensor<1>]| {
        let logits = x[0].clone().reshape([2000, 20]).transpose();
        let data = TensorData::new(targets.clone(), [20]);
        let targets = Tensor::<1, Int>::from_data(data, &logits.device());
        cross_entropy(logits, targets, None)
    };
    let own = |x: &[Tensor<1>]| composed(x[0].clone().reshape([2000, 20]).transpose(), &targets);
    check(&case, &fused, &own);
    let turned = |x: &[Tensor<1>], f: &dyn Fn(Tensor<2>) -> Tensor<2>| {
        f(x[0].clone().reshape([2000, 20]).transpose()).flatten(0, 1)
    };
    check(&case, &|x| turned(x, &softmax), &|x| {
        turned(x, &|x| activation::softmax(x, 1))
    });
}

#[test]
fn extreme_rows_are_burns() {
    let inf = f64::INFINITY;
    let rows = [
        [1e4, -1e4, 0.0, 0.0],
        [-inf, 1.0, 2.0, -inf],
        [-inf, -inf, -inf, -inf],
        [inf, 1.0, 2.0, 3.0],
        [f64::NAN, 1.0, 2.0, 3.0],
    ];
    let case = Case {
        inputs: vec![rows.concat()],
        tracked: vec![true],
    };
    for dtype in [DType::F32, DType::F64] {
        let found = case.run(dtype, &|x| along_rows(x, 4, softmax)).value;
        let own = case.run(dtype, &|x| along_rows(x, 4, |x| activation::softmax(x, 1)));
        assert!(
            crate::harness::error(&found, &own.value) < 1e-7,
            "{found:?}"
        );
        assert!(found[8..].iter().all(|x| x.is_nan()));
        assert_eq!((found[4], found[7]), (0.0, 0.0));
        let found = case.run(dtype, &|x| along_rows(x, 4, log_softmax)).value;
        assert_eq!(found[..2], [0.0, -2e4]);
        assert!(found[8..].iter().all(|x| x.is_nan()));
    }
}

#[test]
fn rows_that_are_ignored_cost_nothing() {
    let device = Device::flex().autodiff();
    let logits = Tensor::<2>::from_floats([[1.0, 2.0], [5.0, 9.0]], &device).require_grad();
    let targets = Tensor::<1, Int>::from_data([0, 1], &device);
    let losses = cross_entropy(logits.clone(), targets, Some(1));
    let grads = losses.clone().sum().backward();
    assert_eq!(host(losses.inner())[1], 0.0);
    assert_eq!(host(logits.grad(&grads).unwrap())[2..], [0.0, 0.0]);
}

#[test]
#[should_panic(expected = "cross_entropy: expected targets from 0 to 1, found 2 in row 1")]
fn targets_are_checked() {
    let device = Device::flex();
    let targets = Tensor::<1, Int>::from_data([0, 2], &device);
    let _ = cross_entropy(Tensor::zeros([2, 2], &device), targets, None);
}

#[test]
#[should_panic(expected = "cross_entropy: expected 2 targets for logits [2, 3], found 1")]
fn numbers_of_rows_are_checked() {
    let device = Device::flex();
    let targets = Tensor::<1, Int>::from_data([0], &device);
    let _ = cross_entropy(Tensor::zeros([2, 3], &device), targets, None);
}
