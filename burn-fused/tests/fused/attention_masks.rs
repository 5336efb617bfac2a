//! Masks and biases of attention.

use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use burn_flex_fused::{AttentionOptions, LeftOut, attention};
use proptest::prelude::*;

use crate::attention::{Sizes, sizes};
use crate::harness::{check, config, host, numbers};

fn flags(count: usize, share: f64, seed: u64) -> Vec<bool> {
    let all = numbers(count, 1.0, seed);
    all.into_iter().map(|x| x < 2.0 * share - 1.0).collect()
}

fn mask<const D: usize>(all: &[bool], shape: [usize; D]) -> Tensor<D, Bool> {
    Tensor::from_data(TensorData::new(all.to_vec(), shape), &Device::flex())
}

fn left_out() -> impl Strategy<Value = LeftOut> {
    prop_oneof![
        Just(LeftOut::NegativeInfinity),
        Just(LeftOut::Lowest),
        Just(LeftOut::Value(-1e4)),
    ]
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn masks_leave_keys_out(
        sizes in sizes(),
        seed in 0u64..1000,
        causal in any::<bool>(),
        window in prop::option::of(0usize..8),
        padding in prop::option::of((any::<bool>(), 0.0f64..1.0)),
        pairs in prop::option::of((any::<bool>(), any::<bool>(), 0.0f64..1.0)),
        left_out in left_out(),
        cap in prop::option::of(0.5f64..20.0),
    ) {
        let Sizes { samples, queries, keys, .. } = sizes;
        let mut options = AttentionOptions::new(sizes.heads())
            .with_key_value_heads(sizes.shared)
            .with_causal(causal)
            .with_window(window)
            .with_left_out(left_out)
            .with_soft_cap(cap);
        // Sizes and entries of the masks.
        let padding = padding.map(|(one, share)| {
            let samples = if one { 1 } else { samples };
            (samples, flags(samples * keys, share, seed + 1))
        });
        if let Some((samples, all)) = &padding {
            options.padding = Some(mask(all, [*samples, keys]));
        }
        let pairs = pairs.map(|(one, all, share)| {
            let samples = if one { 1 } else { samples };
            let queries = if all { 1 } else { queries };
            (samples, queries, flags(samples * queries * keys, share, seed + 2))
        });
        if let Some((samples, queries, all)) = &pairs {
            options.mask = Some(mask(all, [*samples, *queries, keys]));
        }
        let out = |[sample, _, query, key]: [usize; 4]| {
            let own = query as i64 + keys as i64 - queries as i64;
            let distance = key as i64 - own;
            let padded = padding.as_ref().is_some_and(|(samples, all)| {
                all[sample % samples * keys + key]
            });
            let paired = pairs.as_ref().is_some_and(|(samples, queries, all)| {
                all[(sample % samples * queries + query % queries) * keys + key]
            });
            let far = window.is_some_and(|window| distance.unsigned_abs() >= window as u64);
            (causal && distance > 0) || far || padded || paired
        };
        sizes.check(&sizes.case(2.0, seed), &options, out);
    }

    #[test]
    fn biases_are_added(
        sizes in sizes(),
        seed in 0u64..1000,
        ones in prop::array::uniform4(any::<bool>()),
        causal in any::<bool>(),
    ) {
        let whole = [sizes.samples, sizes.heads(), sizes.queries, sizes.keys];
        let shape: [usize; 4] = std::array::from_fn(|at| if ones[at] { 1 } else { whole[at] });
        let all = numbers(shape.iter().product(), 3.0, seed);
        let device = Device::flex();
        let bias = Tensor::<4>::from_data(TensorData::new(all, shape), (&device, DType::F64));
        let options = AttentionOptions::new(sizes.heads())
            .with_key_value_heads(sizes.shared)
            .with_causal(causal)
            .with_bias(Some(bias));
        let out = |[_, _, query, key]: [usize; 4]| {
            causal && key + sizes.queries > query + sizes.keys
        };
        sizes.check(&sizes.case(2.0, seed), &options, out);
    }

    /// A tracked bias takes Burn's own operations, with the same result and a gradient of its own.
    #[test]
    fn the_fallback_is_the_same(
        sizes in sizes(),
        seed in 0u64..1000,
        causal in any::<bool>(),
        window in prop::option::of(0usize..8),
        left_out in left_out(),
        probability in prop::option::of(0.0f64..0.9),
        cap in prop::option::of(0.5f64..20.0),
    ) {
        let options = AttentionOptions::new(sizes.heads())
            .with_key_value_heads(sizes.shared)
            .with_causal(causal)
            .with_window(window)
            .with_left_out(left_out)
            .with_soft_cap(cap)
            .with_dropout(probability.map(|p| burn_flex_fused::Dropout::new(p, seed)));
        let padding = flags(sizes.keys, 0.3, seed);
        let options = options.with_padding(Some(mask(&padding, [1, sizes.keys])));
        let fallback = |x: &[Tensor<1>]| {
            let bias = Tensor::<4>::zeros([1; 4], (&x[0].device(), x[0].dtype()));
            let options = options.clone().with_bias(Some(bias.require_grad()));
            sizes.fused(x, &options)
        };
        check(&sizes.case(2.0, seed), &|x| sizes.fused(x, &options), &fallback);
    }
}

#[test]
fn a_tracked_bias_has_a_gradient() {
    let device = Device::flex().autodiff();
    let x = Tensor::<3>::ones([1, 2, 2], &device);
    let bias = Tensor::<4>::zeros([1, 1, 2, 2], &device).require_grad();
    let values = Tensor::<3>::from_floats([[[1.0, 0.0], [0.0, 0.0]]], &device);
    let options = AttentionOptions::new(1).with_bias(Some(bias.clone()));
    let grads = attention(x.clone(), x, values, &options).sum().backward();
    // Both weights are a half: p (1 - p).
    assert_eq!(host(bias.grad(&grads).unwrap()), [0.25, -0.25, 0.25, -0.25]);
}

#[test]
fn queries_without_keys() {
    let device = Device::flex().autodiff();
    for dtype in [DType::F32, DType::F64] {
        let value = Tensor::<3>::from_data([[[1.0], [3.0]]], (&device, dtype)).require_grad();
        let x = Tensor::<3>::ones([1, 2, 1], (&device, dtype)).require_grad();
        let padding = mask(&[true, true], [1, 2]);
        for (left_out, expected, weight) in [
            (LeftOut::NegativeInfinity, 0.0, 0.0),
            (LeftOut::Lowest, 2.0, 1.0),
            (LeftOut::Value(-1e4), 2.0, 1.0),
            (LeftOut::Value(f64::NEG_INFINITY), 0.0, 0.0),
        ] {
            let options = AttentionOptions::new(1)
                .with_padding(Some(padding.clone()))
                .with_left_out(left_out);
            let y = attention(x.clone(), x.clone(), value.clone(), &options);
            let grads = y.clone().sum().backward();
            assert_eq!(host(y.inner()), [expected; 2]);
            assert_eq!(host(value.grad(&grads).unwrap()), [weight; 2]);
            assert_eq!(host(x.grad(&grads).unwrap()), [0.0; 2]);
        }
    }
}

#[test]
fn what_is_left_out_does_not_matter() {
    let device = Device::flex();
    let tensor = |values: [[f32; 2]; 3]| Tensor::<3>::from_data([values], (&device, DType::F32));
    let query = tensor([[0.3, -1.0], [2.0, 0.1], [1.0, 1.0]]);
    let key = tensor([[1.0, -0.5], [0.2, 0.7], [1e4, -1e4]]);
    let value = tensor([[1.0, 2.0], [3.0, 4.0], [1e4, 1e4]]);
    let options = AttentionOptions::new(1);
    let padded = options
        .clone()
        .with_padding(Some(mask(&[false, false, true], [1, 3])));
    let short = |x: &Tensor<3>| x.clone().narrow(1, 0, 2);
    let y = attention(query.clone(), key.clone(), value.clone(), &padded);
    let expected = attention(query, short(&key), short(&value), &options);
    assert_eq!(host(y), host(expected));
}

#[test]
#[should_panic(
    expected = "attention: expected a padding [2, 3], of which the first 1 sizes may be 1"
)]
fn masks_are_checked() {
    let x = Tensor::<3>::zeros([2, 3, 6], &Device::flex());
    let options = AttentionOptions::new(3).with_padding(Some(mask(&[true; 8], [2, 4])));
    let _ = attention(x.clone(), x.clone(), x, &options);
}
