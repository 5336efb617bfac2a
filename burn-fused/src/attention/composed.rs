//! The same attention by Burn's own operations, for every device.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, DType, Device, Tensor, TensorData};

use super::AttentionOptions;
use super::sizes::Sizes;
use crate::dropout::Dropout;

/// See [`attention`](super::attention).
pub(super) fn composed(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    options: &AttentionOptions,
    sizes: Sizes,
) -> Tensor<3> {
    let Sizes {
        samples,
        queries,
        keys,
        width,
    } = sizes;
    let (heads, shared) = (options.heads, options.key_value_heads);
    let scale = options.scale.unwrap_or((width as f64).powf(-0.5));
    let dtype = query.dtype();
    // Burn's gradient of a division by a number is f32, that of a product is not.
    let query = split(query, heads) * scale;
    let (key, value) = (split(key, shared), split(value, shared));
    let [_, _, _, value_width] = value.dims();
    // The query heads of a group follow each other: stacked, they share one product.
    let stacked = [samples, shared, heads / shared * queries, width];
    let scores: Tensor<4> = query.reshape(stacked).matmul(key.transpose());
    let mut scores = scores.reshape([samples, heads, queries, keys]);
    if matches!(dtype, DType::F16 | DType::BF16) {
        scores = scores.cast(DType::F32);
    }
    if let Some(cap) = options.soft_cap {
        scores = (scores * (1.0 / cap)).tanh() * cap;
    }
    if let Some(bias) = &options.bias {
        scores = scores.clone() + bias.clone().cast(scores.dtype());
    }
    let score = options.left_out.score(scores.dtype());
    scores = left_out(scores, options, score);
    let mut weights = if score == f64::NEG_INFINITY {
        weights_or_zeros(scores)
    } else {
        softmax(scores, 3)
    };
    weights = weights.cast(dtype);
    if let Some(dropout) = options.dropout {
        let factors = factors(dropout, weights.dims(), &weights);
        weights = weights * factors;
    }
    let stacked = [samples, shared, heads / shared * queries, keys];
    weights
        .reshape(stacked)
        .matmul(value)
        .reshape([samples, heads, queries, value_width])
        .swap_dims(1, 2)
        .reshape([samples, queries, heads * value_width])
}

/// `[M, T, heads * width]` to `[M, heads, T, width]`.
fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [samples, positions, width] = x.dims();
    x.reshape([samples, positions, heads, width / heads])
        .swap_dims(1, 2)
}

/// The scores with those of left-out keys in their places.
fn left_out(mut scores: Tensor<4>, options: &AttentionOptions, score: f64) -> Tensor<4> {
    let [samples, _, queries, keys] = scores.dims();
    let all = [samples, options.heads, queries, keys];
    if options.causal || options.window.is_some() {
        let mask = positions([queries, keys], options, &scores.device());
        scores = scores.mask_fill(mask.reshape([1, 1, queries, keys]).expand(all), score);
    }
    if let Some(padding) = &options.padding {
        let [samples, _] = padding.dims();
        let mask = padding.clone().reshape([samples, 1, 1, keys]);
        scores = scores.mask_fill(mask.expand(all), score);
    }
    if let Some(mask) = &options.mask {
        let [samples, queries, _] = mask.dims();
        let mask = mask.clone().reshape([samples, 1, queries, keys]);
        scores = scores.mask_fill(mask.expand(all), score);
    }
    scores
}

/// What the causal mask and the window leave out, `[T, U]`.
fn positions(
    [queries, keys]: [usize; 2],
    options: &AttentionOptions,
    device: &Device,
) -> Tensor<2, Bool> {
    let out = |query: usize, key: usize| {
        // How far the key is behind the query.
        let ahead = (key + queries) as i128 - (query + keys) as i128;
        (options.causal && ahead > 0)
            || options
                .window
                .is_some_and(|window| ahead.unsigned_abs() >= window as u128)
    };
    let all = (0..queries).flat_map(|query| (0..keys).map(move |key| out(query, key)));
    let all: Vec<bool> = all.collect();
    Tensor::from_data(TensorData::new(all, [queries, keys]), device)
}

/// Softmax along the keys; a row of `-∞` gets zeros, as in Burn's attention.
fn weights_or_zeros(scores: Tensor<4>) -> Tensor<4> {
    let (lowest, smallest) = match scores.dtype() {
        DType::F64 => (f64::MIN, f64::MIN_POSITIVE),
        _ => (f64::from(f32::MIN), f64::from(f32::MIN_POSITIVE)),
    };
    let largest = scores.clone().detach().max_dim(3).clamp_min(lowest);
    let weights = (scores - largest).exp();
    let sum = weights.clone().sum_dim(3).clamp_min(smallest);
    weights / sum
}

/// What multiplies the weights, of the dtype and on the device of `like`.
fn factors(dropout: Dropout, shape: [usize; 4], like: &Tensor<4>) -> Tensor<4> {
    let [samples, heads, queries, keys] = shape;
    let factor = dropout.factor();
    let lines = (0..samples).flat_map(|sample| {
        let first = dropout.sample(sample, samples) * heads * queries;
        first..first + heads * queries
    });
    let all = lines.flat_map(|line| {
        let line = dropout.line(line);
        (0..keys).map(move |key| if line.keeps(key) { factor } else { 0.0 })
    });
    let all: Vec<f64> = all.collect();
    Tensor::from_data(
        TensorData::new(all, shape),
        (&like.device().inner(), like.dtype()),
    )
}
