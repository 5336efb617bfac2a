//! Steps of gradient descent.

use burn::tensor::{DType, Device, Distribution, Tensor};
use burn_flex_fused::descend;
use proptest::prelude::*;

use crate::harness::{config, host};

fn random(shape: [usize; 2], dtype: DType) -> Tensor<2> {
    Tensor::random(
        shape,
        Distribution::Normal(0.0, 1.0),
        (&Device::flex(), dtype),
    )
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn steps_are_those_of_burns_operations_to_the_bit(
        rows in 1usize..300,
        columns in 1usize..200,
        step in -2.0f64..2.0,
        keep in prop_oneof![Just(1.0), 0.5f64..1.0],
        turned in any::<bool>(),
        wide in any::<bool>(),
    ) {
        let dtype = if wide { DType::F64 } else { DType::F32 };
        let parameter = random([rows, columns], dtype);
        let update = if turned {
            random([columns, rows], dtype).transpose()
        } else {
            random([rows, columns], dtype)
        };
        let kept = if keep == 1.0 { parameter.clone() } else { parameter.clone() * keep };
        let expected = kept - update.clone() * step;
        let before = host(parameter.clone());
        // A second owner: its entries stay.
        let other = parameter.clone();
        prop_assert_eq!(host(descend(parameter, update.clone(), step, keep)), host(expected.clone()));
        prop_assert_eq!(host(other.clone()), before);
        // The only owner.
        prop_assert_eq!(host(descend(other, update, step, keep)), host(expected));
    }
}

#[test]
fn what_no_kernel_takes_is_the_same() {
    let device = Device::flex().autodiff();
    let ones = |device: &Device| Tensor::<2>::ones([2, 3], device);
    let tracked = ones(&device).require_grad();
    let next = descend(tracked.clone(), ones(&device), 0.5, 0.5);
    assert_eq!(host(next.clone()), [0.0; 6]);
    assert!(tracked.grad(&next.sum().backward()).is_some());
    let next = descend(ones(&device), ones(&device), 0.5, 1.0);
    assert_eq!(host(next.clone()), [0.5; 6]);
    assert!(next.device().is_autodiff());
    let next = descend(ones(&Device::flex()), ones(&device), 0.5, 1.0);
    assert_eq!(host(next.clone()), [0.5; 6]);
    assert!(!next.device().is_autodiff());
    let half = ones(&Device::flex()).cast(DType::F16);
    assert_eq!(host(descend(half.clone(), half, 0.25, 1.0)), [0.75; 6]);
    let empty = Tensor::<2>::zeros([0, 3], &Device::flex());
    assert_eq!(descend(empty.clone(), empty, 0.5, 1.0).dims(), [0, 3]);
}

#[test]
#[should_panic(expected = "descend: expected an update [2, 3], found [1, 3]")]
fn an_update_is_not_broadcast() {
    let device = Device::flex();
    descend(
        Tensor::<2>::ones([2, 3], &device),
        Tensor::ones([1, 3], &device),
        0.5,
        1.0,
    );
}
