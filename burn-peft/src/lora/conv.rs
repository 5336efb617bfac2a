//! 2-D convolutions with low-rank adapters.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn_ief::nn::{ForwardRecorded, expand_param};

use super::factors::LoraFactors;
use crate::adapters::{at, at_least_f32};

/// A convolution with these adapters, not in groups: a convolution to `r` channels with the layer's
/// own kernel size, stride and padding (A), then a 1 × 1 convolution (B). With DoRA, output channels
/// are scaled by the ratio of their magnitudes to the norms of the composed kernels, without the
/// bias.
pub(super) fn forward(
    base: &Conv2d,
    parts: &[(&LoraFactors<4>, f64)],
    input: Tensor<4>,
) -> Tensor<4> {
    if parts.iter().any(|(adapter, _)| adapter.magnitude.is_some()) {
        return decomposed(base.clone(), parts, input);
    }
    let mut y = base.forward_recorded(input.clone());
    // In half precision the sum is rounded once, as in PEFT.
    let dtype = y.dtype();
    let wide = at_least_f32(dtype);
    for (adapter, factor) in parts {
        let entering = adapter.dropout.forward_recorded(input.clone());
        y = at(y, wide) + at(through(adapter, base, entering, *factor), wide);
    }
    at(y, dtype)
}

/// With DoRA, recorded or not: `(m / ‖W + s B A‖) (W + s B A) ∗ x + b`.
fn decomposed(base: Conv2d, parts: &[(&LoraFactors<4>, f64)], input: Tensor<4>) -> Tensor<4> {
    let bias = base.bias.clone();
    let base = Conv2d { bias: None, ..base };
    let convolved = base.forward_recorded(input.clone());
    let [batch, channels, ..] = convolved.dims();
    let over_channels = |x: Tensor<2>| x.reshape([batch, channels, 1, 1]);
    let dtype = convolved.dtype();
    let wide = at_least_f32(dtype);
    let convolved = at(convolved, wide);
    let mut y = convolved.clone();
    for &(adapter, factor) in parts {
        let entering = adapter.dropout.forward_recorded(input.clone());
        let delta = through(adapter, &base, entering.clone(), factor);
        let delta = at(delta, wide);
        let Some(ratios) = adapter.ratios(base.weight.val(), factor, batch) else {
            y = y + delta;
            continue;
        };
        let ratios = at(over_channels(ratios), wide);
        let base_part = if adapter.drops() {
            at(base.forward_recorded(entering), wide)
        } else {
            convolved.clone()
        };
        y = y - base_part.clone() + (base_part + delta) * ratios;
    }
    let y = match bias {
        Some(bias) => y + at(over_channels(expand_param::<_, 2>(&bias, batch)), wide),
        None => y,
    };
    at(y, dtype)
}

/// `s B ∗ (A ∗ x)`.
fn through(adapter: &LoraFactors<4>, base: &Conv2d, entering: Tensor<4>, factor: f64) -> Tensor<4> {
    let first = Conv2d {
        weight: adapter.a.clone(),
        bias: None,
        ..base.clone()
    };
    let second = Conv2d {
        weight: adapter.b.clone(),
        bias: None,
        stride: [1, 1],
        kernel_size: [1, 1],
        dilation: [1, 1],
        groups: 1,
        padding: PaddingConfig2d::Valid,
    };
    let entering = at(entering, adapter.a.val().dtype());
    second.forward_recorded(first.forward_recorded(entering)) * (adapter.scale * factor)
}
