//! What no kernel takes: other dtypes, tensors without entries, and other devices.

use burn::tensor::{DType, Device, Tensor, activation};
use burn_flex_fused::{
    AttentionOptions, attention, gelu, layer_norm, log_softmax, rms_norm, silu, softmax,
};

use crate::harness::host;

#[test]
fn half_precision_takes_burns_operations() {
    let device = Device::flex().autodiff();
    for dtype in [DType::F16, DType::BF16] {
        let x = Tensor::<3>::from_floats([[[0.5, -1.0, 2.0, 0.25]]], &device).cast(dtype);
        let ones = Tensor::<1>::ones([4], (&device, dtype));
        for (y, expected) in [
            (gelu(x.clone()), activation::gelu(x.clone())),
            (silu(x.clone()), activation::silu(x.clone())),
            (softmax(x.clone()), activation::softmax(x.clone(), 2)),
            (
                log_softmax(x.clone()),
                activation::log_softmax(x.clone(), 2),
            ),
        ] {
            assert_eq!(y.dtype(), dtype);
            assert_eq!(host(y), host(expected));
        }
        // Squares that overflow f16.
        let y = rms_norm(x.clone() * 1000.0, ones.clone(), 1e-5);
        assert!(host(y).iter().all(|y| y.is_finite()));
        let y = layer_norm(x.clone() * 1000.0, ones, None, 1e-5);
        assert_eq!(y.dtype(), dtype);
        assert!(host(y).iter().all(|y| y.is_finite()));
        let y = attention(x.clone(), x.clone(), x.clone(), &AttentionOptions::new(2));
        assert_eq!(host(y), host(x));
    }
}

#[test]
fn empty_tensors_keep_their_shapes() {
    let device = Device::flex().autodiff();
    let empty = |shape: [usize; 3]| Tensor::<3>::zeros(shape, &device);
    assert_eq!(softmax(empty([2, 0, 3])).dims(), [2, 0, 3]);
    let options = AttentionOptions::new(2);
    let y = attention(
        empty([0, 3, 4]),
        empty([0, 5, 4]),
        empty([0, 5, 6]),
        &options,
    );
    assert_eq!(y.dims(), [0, 3, 6]);
    let y = attention(
        empty([2, 0, 4]),
        empty([2, 5, 4]),
        empty([2, 5, 6]),
        &options,
    );
    assert_eq!(y.dims(), [2, 0, 6]);
}

#[cfg(feature = "ndarray")]
#[allow(deprecated)] // deprecated upstream, still supported here
#[test]
fn other_devices_have_the_same_results() {
    use burn::tensor::{Bool, Int, TensorData};
    use burn_flex_fused::{
        Dropout, LeftOut, RotaryPairs, cross_entropy, gelu_approximate, rotary, swiglu,
    };

    use crate::harness::{Case, error};

    let angles = |x: &Tensor<3>, value: f64| {
        let like = (&x.device().inner(), x.dtype());
        Tensor::<3>::full([1, 5, 2], value, like)
    };
    let attend = |x: Tensor<3>, left_out: LeftOut| {
        let padding = TensorData::new(vec![false, true, false, true, false], [1, 5]);
        let padding = Tensor::<2, Bool>::from_data(padding, &x.device());
        let options = AttentionOptions::new(2)
            .with_causal(true)
            .with_window(Some(2))
            .with_soft_cap(Some(3.0))
            .with_padding(Some(padding))
            .with_left_out(left_out)
            .with_dropout(Some(Dropout::new(0.3, 7)));
        attention(x.clone(), x.clone(), x, &options)
    };
    let operations: [(&str, &dyn Fn(Tensor<3>) -> Tensor<3>); 10] = [
        ("gelu", &gelu),
        ("gelu_approximate", &gelu_approximate),
        ("silu", &silu),
        ("swiglu", &|x| swiglu(x.clone(), x * 2.0)),
        ("softmax", &softmax),
        ("log_softmax", &log_softmax),
        ("rotary, halves", &|x| {
            rotary(
                x.clone(),
                angles(&x, 0.6),
                angles(&x, 0.8),
                2,
                RotaryPairs::Halves,
            )
        }),
        ("rotary, neighbours", &|x| {
            rotary(
                x.clone(),
                angles(&x, 0.6),
                angles(&x, 0.8),
                2,
                RotaryPairs::Neighbours,
            )
        }),
        ("attention", &|x| attend(x, LeftOut::NegativeInfinity)),
        ("attention, lowest", &|x| attend(x, LeftOut::Lowest)),
    ];
    let case = Case::random(&[2 * 5 * 8], 2.0, 9);
    let compare = |name: &str, operation: &dyn Fn(Tensor<3>) -> Tensor<3>| {
        let run = |device: Device| {
            case.run_on(&device.autodiff(), DType::F32, &|x| {
                operation(x[0].clone().reshape([2, 5, 8])).flatten(0, 2)
            })
        };
        let (found, expected) = (run(Device::flex()), run(Device::ndarray()));
        let gradient = |outcome: &crate::harness::Outcome| outcome.gradients[0].clone().unwrap();
        let errors = [
            error(&found.value, &expected.value),
            error(&gradient(&found), &gradient(&expected)),
        ];
        // Burn's gradient of the exact GELU is that of the form with tanh on every device but Flex
        // (`gelu_backward` of burn-backend 0.22.1).
        let gradient = if name == "gelu" { 1e-3 } else { 1e-5 };
        let within = errors[0] < 1e-5 && errors[1] < gradient;
        assert!(within, "{name}: {errors:?}");
    };
    for (name, operation) in operations {
        compare(name, operation);
    }
    compare("norms", &|x| {
        let ones = Tensor::<1>::ones([8], &x.device()) * 1.5;
        layer_norm(x.clone(), ones.clone(), Some(ones.clone()), 1e-5) + rms_norm(x, ones, 1e-5)
    });
    compare("cross-entropy", &|x| {
        let targets = TensorData::new(vec![0i64, 7, 3, -100, 2, 2, 1, -100, 6, 5], [10]);
        let targets = Tensor::<1, Int>::from_data(targets, &x.device());
        let losses = cross_entropy(x.reshape([10, 8]), targets, Some(-100));
        losses.reshape([1, 1, 10])
    });
}
