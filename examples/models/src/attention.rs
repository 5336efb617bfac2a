//! Attention of the models that do more than mask padding.

use burn::nn::Dropout;
use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Device, Tensor};
use burn_flex_fused::{AttentionOptions, attention, is_fused};
use burn_ief::nn::{ForwardRecorded, attention_dropout};

use crate::encoder::drops;

/// [`attention`](burn_flex_fused::attention()) with these options and dropout of the weights.
///
/// The options leave keys out by the lowest finite score
/// ([`LeftOut::Lowest`](burn_flex_fused::LeftOut)).
pub(crate) fn attend(
    [query, key, value]: [Tensor<3>; 3],
    options: AttentionOptions,
    dropout: &Dropout,
) -> Tensor<3> {
    if drops(dropout, &query) && !is_fused(&query) {
        // On a GPU this dropout does not wait for the device.
        attend_unfused([query, key, value], &options, dropout)
    } else {
        let dropout = attention_dropout(dropout, &query);
        attention(query, key, value, &options.with_dropout(dropout))
    }
}

/// The same by Burn's own operations.
fn attend_unfused(
    [query, key, value]: [Tensor<3>; 3],
    options: &AttentionOptions,
    dropout: &Dropout,
) -> Tensor<3> {
    let (heads, shared) = (options.heads, options.key_value_heads);
    let query = split(query, heads);
    let (key, value) = (split(key, shared), split(value, shared));
    let [batch, _, queries, width] = query.dims();
    let [_, _, keys, _] = key.dims();
    let query = query * options.scale.unwrap_or((width as f64).powf(-0.5));
    // The query heads of a group lie one after the other: stacked, they share one product.
    let stacked = [batch, shared, heads / shared * queries, width];
    let scores = query.reshape(stacked).matmul(key.transpose());
    let scores: Tensor<4> = scores.reshape([batch, heads, queries, keys]);
    let dtype = scores.dtype();
    let mut scores = match dtype {
        DType::F16 | DType::BF16 => scores.cast(DType::F32),
        _ => scores,
    };
    if let Some(cap) = options.soft_cap {
        scores = (scores * (1.0 / cap)).tanh() * cap;
    }
    let least = match scores.dtype() {
        DType::F64 => f64::MIN,
        _ => f64::from(f32::MIN),
    };
    for mask in left_out(options, [queries, keys], &scores.device()) {
        scores = scores.mask_fill(mask.expand([batch, heads, queries, keys]), least);
    }
    let weights = dropout.forward_recorded(softmax(scores, 3).cast(dtype));
    let stacked = [batch, shared, heads / shared * queries, keys];
    weights
        .reshape(stacked)
        .matmul(value)
        .reshape([batch, heads, queries, width])
        .swap_dims(1, 2)
        .reshape([batch, queries, heads * width])
}

/// `[M, T, heads * width]` to `[M, heads, T, width]`.
fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, positions, width] = x.dims();
    x.reshape([batch, positions, heads, width / heads])
        .swap_dims(1, 2)
}

/// What the options leave out of the pairs of `[queries, keys]`, one mask for each reason, each true
/// where a query must not see a key, `[M or 1, 1, T or 1, U]`.
fn left_out(
    options: &AttentionOptions,
    [queries, keys]: [usize; 2],
    device: &Device,
) -> Vec<Tensor<4, Bool>> {
    let earlier = keys as i64 - queries as i64;
    let pairs = |mask: Tensor<2, Bool>| mask.reshape([1, 1, queries, keys]);
    let window = options.window.filter(|&window| window < keys);
    let window = window.map(|window| window as i64 - 1);
    // The last key behind the query that is seen.
    let last = if options.causal { Some(0) } else { window };
    let later = last.filter(|&last| last < queries as i64 - 1).map(|last| {
        pairs(Tensor::<2, Bool>::tril_mask(
            [queries, keys],
            earlier + last,
            device,
        ))
    });
    let before = window.map(|window| {
        pairs(Tensor::<2, Bool>::triu_mask(
            [queries, keys],
            earlier - window,
            device,
        ))
    });
    let padding = options.padding.clone().map(|padding| {
        let [batch, _] = padding.dims();
        padding.reshape([batch, 1, 1, keys])
    });
    let mask = options.mask.clone().map(|mask| {
        let [batch, queries, _] = mask.dims();
        mask.reshape([batch, 1, queries, keys])
    });
    [later, before, padding, mask]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::DropoutConfig;
    use burn::tensor::{Distribution, Int};
    use burn_flex_fused::LeftOut;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn without_dropout_it_is_the_kernel(
            queries in 1usize..5,
            earlier in 0usize..4,
            window in proptest::option::of(1usize..6),
            cap in proptest::option::of(0.5f64..4.0),
            causal in any::<bool>(),
            padded in any::<bool>(),
            masked in any::<bool>(),
        ) {
            let device = Device::flex();
            let keys = queries + earlier;
            let random = |shape| {
                Tensor::<3>::random(shape, Distribution::Normal(0.0, 1.0), &device)
            };
            let [q, k, v] = [random([2, queries, 16]), random([2, keys, 8]), random([2, keys, 8])];
            let coins = |shape: [usize; 3]| -> Tensor<3, Bool> {
                let coins = Tensor::<3>::random(shape, Distribution::Uniform(0.0, 1.0), &device);
                coins.lower_elem(0.3)
            };
            let padding = coins([2, 1, keys]).reshape([2, keys]);
            let options = AttentionOptions::new(4)
                .with_key_value_heads(2)
                .with_scale(0.7)
                .with_soft_cap(cap)
                .with_causal(causal)
                .with_window(window)
                .with_padding(padded.then_some(padding))
                .with_mask(masked.then(|| coins([2, queries, keys])))
                .with_left_out(LeftOut::Lowest);
            let inputs = [q.clone(), k.clone(), v.clone()];
            let dropout = DropoutConfig::new(0.0).init();
            let found = attend_unfused(inputs, &options, &dropout);
            let difference = (found - attention(q, k, v, &options)).abs().max();
            prop_assert!(difference.into_scalar::<f32>() < 1e-5);
        }
    }

    #[test]
    fn masks_are_those_of_the_options() {
        let device = Device::flex();
        let options = AttentionOptions::new(1)
            .with_causal(true)
            .with_window(Some(2));
        let masks = left_out(&options, [2, 4], &device);
        let seen = masks.into_iter().fold(
            Tensor::<4, Int>::ones([1, 1, 2, 4], &device),
            |seen, mask| seen.mask_fill(mask, 0),
        );
        let seen: Vec<i64> = seen.into_data().iter::<i64>().collect();
        // The queries are the last two of four positions.
        assert_eq!(seen, [0, 1, 1, 0, 0, 0, 1, 1]);
    }

    fn rows<const D: usize>(mask: Tensor<D, Bool>) -> Vec<bool> {
        mask.into_data().iter::<bool>().collect()
    }

    #[test]
    fn queries_see_what_is_not_later() {
        let device = Device::flex();
        let options = AttentionOptions::new(1).with_causal(true);
        let [mask] = left_out(&options, [2, 3], &device).try_into().unwrap();
        assert_eq!(mask.dims(), [1, 1, 2, 3]);
        assert_eq!(rows(mask), [false, false, true, false, false, false]);
        assert!(left_out(&options, [1, 3], &device).is_empty());
    }

    #[test]
    fn windows_end_before_the_query() {
        let device = Device::flex();
        let window = |window| AttentionOptions::new(1).with_window(Some(window));
        let [mask] = left_out(&window(2), [2, 3], &device).try_into().unwrap();
        assert_eq!(rows(mask), [false, false, false, true, false, false]);
        assert!(left_out(&window(3), [2, 3], &device).is_empty());
        assert!(left_out(&window(usize::MAX), [2, 3], &device).is_empty());
        let [mask] = left_out(&window(1), [1, 3], &device).try_into().unwrap();
        assert_eq!(rows(mask), [true, true, false]);
    }

    #[test]
    fn without_order_windows_end_on_both_sides() {
        let device = Device::flex();
        let options = AttentionOptions::new(1).with_window(Some(1));
        let masks = left_out(&options, [3, 3], &device);
        let [later, before] = masks.try_into().unwrap();
        let (t, f) = (true, false);
        assert_eq!(rows(later), [f, t, t, f, f, t, f, f, f]);
        assert_eq!(rows(before), [f, f, f, t, f, f, t, t, f]);
    }
}
