//! RMS norm at the precision of its input.

use burn::nn::RmsNorm;
use burn::tensor::Tensor;
use burn_ief::nn::expand_param;
use burn_ief::recorder;

/// Normalise the last axis of `[M, T, d]`, and multiply by the weight plus `offset`.
///
/// Burn's own forward takes the mean square in f32 whatever the input, which costs an f64 model
/// half of its digits. This takes it in f32 or wider.
pub(super) fn rms_norm(norm: &RmsNorm, x: Tensor<3>, offset: f64) -> Tensor<3> {
    if recorder().is_none() || !norm.gamma.is_require_grad() {
        let scale = shifted(norm.gamma.val(), offset);
        return burn_flex_fused::rms_norm(x, scale, norm.epsilon);
    }
    // One copy of the scale per sample, whose gradient is the sample's.
    let dtype = x.dtype();
    let [batch, _, width] = x.dims();
    let ones = Tensor::ones([width], (&x.device().inner(), dtype));
    let normal = burn_flex_fused::rms_norm(x, ones, norm.epsilon);
    let copies: Tensor<2> = expand_param(&norm.gamma, batch);
    let copies = shifted(copies, offset);
    normal * copies.reshape([batch, 1, width]).cast(dtype)
}

/// The same over each of the heads of `[M, T, heads * width]`.
pub(super) fn rms_norm_of_heads(
    norm: &RmsNorm,
    x: Tensor<3>,
    heads: usize,
    offset: f64,
) -> Tensor<3> {
    let [batch, positions, width] = x.dims();
    let x = x.reshape([batch, positions * heads, width / heads]);
    rms_norm(norm, x, offset).reshape([batch, positions, width])
}

fn shifted<const D: usize>(weight: Tensor<D>, offset: f64) -> Tensor<D> {
    if offset == 0.0 {
        weight
    } else {
        weight + offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::RmsNormConfig;
    use burn::tensor::{DType, Device, Distribution};

    #[test]
    fn in_f32_it_is_burns_own() {
        let device = Device::flex();
        let norm = RmsNormConfig::new(8).with_epsilon(1e-3).init(&device);
        let x = Tensor::<3>::random([2, 3, 8], Distribution::Normal(0.0, 0.1), &device);
        let difference = rms_norm(&norm, x.clone(), 0.0) - norm.forward(x);
        assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
    }

    #[test]
    fn half_precision_does_not_overflow() {
        let device = Device::flex();
        let norm = RmsNormConfig::new(4).init(&device);
        // Its square is beyond f16.
        let x = Tensor::<3>::ones([1, 1, 4], (&device, DType::F16)) * 1000.0;
        let y = rms_norm(&norm, x, 0.0);
        assert_eq!(y.dtype(), DType::F16);
        assert!(
            y.try_to_vec_as::<f32>()
                .unwrap()
                .iter()
                .all(|y| (y - 1.0).abs() < 1e-3)
        );
    }

    #[test]
    fn heads_are_normalised_one_by_one() {
        let device = Device::flex();
        let norm = RmsNormConfig::new(4).with_epsilon(1e-3).init(&device);
        let x = Tensor::<3>::random([2, 3, 8], Distribution::Normal(0.0, 1.0), &device);
        let both = rms_norm_of_heads(&norm, x.clone(), 2, 0.5);
        for head in [0, 1] {
            let one = |x: &Tensor<3>| x.clone().narrow(2, head * 4, 4);
            let expected = norm.forward(one(&x)) * 1.5;
            let difference = one(&both) - expected;
            assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
        }
    }
}
