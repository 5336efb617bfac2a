//! GELU, SiLU and SwiGLU.

use burn::tensor::{DType, Device, Tensor, activation};
use burn_flex_fused::{gelu, gelu_approximate, silu, swiglu};
use proptest::prelude::*;

use crate::harness::{Case, check, check_large, config, host, numbers};

type Unary = fn(Tensor<1>) -> Tensor<1>;

const UNARY: [(Unary, Unary); 3] = [
    (gelu, activation::gelu),
    (gelu_approximate, activation::gelu_approximate),
    (silu, activation::silu),
];

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn activations_are_burns(count in 1usize..300, size in 0.1f64..12.0, seed in 0u64..1000) {
        let case = Case::random(&[count], size, seed);
        for (fused, own) in UNARY {
            check(&case, &|x| fused(x[0].clone()), &|x| own(x[0].clone()));
        }
    }

    #[test]
    fn gated_units_are_burns(
        count in 1usize..300,
        size in 0.1f64..12.0,
        seed in 0u64..1000,
        tracked in 0usize..4,
    ) {
        let case = Case::random(&[count, count], size, seed).with_tracked(tracked);
        check(
            &case,
            &|x| swiglu(x[0].clone(), x[1].clone()),
            &|x| activation::silu(x[0].clone()) * x[1].clone(),
        );
    }
}

#[test]
fn more_than_one_chunk_is_right_and_errors_are_not_above_burns() {
    let case = Case::random(&[70_001, 70_001], 5.0, 1);
    let one = Case {
        inputs: case.inputs[..1].to_vec(),
        tracked: vec![true],
    };
    for (fused, own) in UNARY {
        check_large(&one, &|x| fused(x[0].clone()), &|x| own(x[0].clone()));
    }
    check_large(&case, &|x| swiglu(x[0].clone(), x[1].clone()), &|x| {
        activation::silu(x[0].clone()) * x[1].clone()
    });
}

#[test]
fn strided_and_expanded_inputs_are_right() {
    type Rows = fn(Tensor<2>) -> Tensor<2>;
    let case = Case::random(&[24], 3.0, 2);
    // Views that enter the kernel as they are.
    let views: [fn(Tensor<1>) -> Tensor<2>; 4] = [
        |x| x.reshape([4, 6]).transpose(),
        |x| x.narrow(0, 3, 8).reshape([2, 4]),
        |x| x.reshape([4, 6]).narrow(1, 2, 3),
        |x| x.reshape([24, 1]).expand([24, 3]),
    ];
    let rows: [(Rows, Rows); 3] = [
        (gelu, activation::gelu),
        (gelu_approximate, activation::gelu_approximate),
        (silu, activation::silu),
    ];
    for view in views {
        for (fused, own) in rows {
            check(&case, &|x| fused(view(x[0].clone())).flatten(0, 1), &|x| {
                own(view(x[0].clone())).flatten(0, 1)
            });
        }
    }
}

#[test]
fn a_second_use_of_input_and_output_is_right() {
    let case = Case::random(&[40], 3.0, 3);
    for (fused, own) in UNARY {
        let twice = |x: &[Tensor<1>], f: Unary| {
            let x = x[0].clone().tanh();
            let y = f(x.clone());
            y.clone() * x.clone() + y.clone() + f(y) + x
        };
        check(&case, &|x| twice(x, fused), &|x| twice(x, own));
    }
}

#[test]
fn extreme_values_are_burns() {
    let inputs = vec![vec![
        0.0, -0.0, 1e4, -1e4, 87.0, -87.0, 1e-30, -1e-30, 3e4, -3e4, 0.5, -0.5,
    ]];
    let case = Case {
        inputs,
        tracked: vec![true],
    };
    for (fused, own) in UNARY {
        check(&case, &|x| fused(x[0].clone()), &|x| own(x[0].clone()));
    }
    for dtype in [DType::F32, DType::F64] {
        for (fused, _) in UNARY {
            let far = Case {
                inputs: vec![vec![1e18, -1e18, 1e30, -1e30]],
                tracked: vec![true],
            };
            let outcome = far.run(dtype, &|x| fused(x[0].clone()));
            assert!(outcome.value[1] == 0.0 && outcome.value[3] == 0.0);
            let slopes = outcome.gradients[0].as_ref().unwrap();
            let factors = numbers(4, 1.0, 77);
            assert_eq!(slopes[..], [factors[0], 0.0, factors[2], 0.0]);
        }
    }
}

#[test]
fn no_number_stays_no_number() {
    for dtype in [DType::F32, DType::F64] {
        let case = Case {
            inputs: vec![vec![1.0, f64::NAN, 2.0], vec![1.0, 1.0, 1.0]],
            tracked: vec![true, true],
        };
        for (fused, _) in UNARY {
            let outcome = case.run(dtype, &|x| fused(x[0].clone()) + x[1].clone());
            let nan: Vec<bool> = outcome.value.iter().map(|x| x.is_nan()).collect();
            assert_eq!(nan, [false, true, false]);
            let gradient = outcome.gradients[0].as_ref().unwrap();
            assert!(gradient[1].is_nan() && !gradient[0].is_nan());
        }
        let outcome = case.run(dtype, &|x| swiglu(x[1].clone(), x[0].clone()));
        assert!(outcome.value[1].is_nan() && !outcome.value[2].is_nan());
    }
}

#[test]
fn without_autodiff_and_without_entries() {
    let device = Device::flex();
    let x = Tensor::<2>::from_floats([[0.3, -2.0]], &device);
    let difference = gelu(x.clone()) - activation::gelu(x.clone());
    assert!(host(difference).iter().all(|x| x.abs() < 1e-7));
    let empty = Tensor::<2>::zeros([0, 3], &device.autodiff());
    assert_eq!(gelu(empty.clone()).dims(), [0, 3]);
    assert_eq!(swiglu(empty.clone(), empty).dims(), [0, 3]);
    // Operands that are broadcast take Burn's own operations.
    assert_eq!(swiglu(x.clone(), x.narrow(1, 0, 1)).dims(), [1, 2]);
}
