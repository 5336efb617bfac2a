//! RMS norm at the precision of its input.

use burn::nn::RmsNorm;
use burn::tensor::Tensor;
use burn_ief::nn::expand_param;
use burn_ief::recorder;

/// Normalise the last axis of `[M, T, d]`.
///
/// Burn's own forward takes the mean square in f32 whatever the input, which costs an f64 model
/// half of its digits. This takes it in f32 or wider.
pub(super) fn rms_norm(norm: &RmsNorm, x: Tensor<3>) -> Tensor<3> {
    if recorder().is_none() || !norm.gamma.is_require_grad() {
        return burn_flex_fused::rms_norm(x, norm.gamma.val(), norm.epsilon);
    }
    // One copy of the scale per sample, whose gradient is the sample's.
    let dtype = x.dtype();
    let [batch, _, width] = x.dims();
    let ones = Tensor::ones([width], (&x.device().inner(), dtype));
    let normal = burn_flex_fused::rms_norm(x, ones, norm.epsilon);
    let copies: Tensor<2> = expand_param(&norm.gamma, batch);
    normal * copies.reshape([batch, 1, width]).cast(dtype)
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
        let difference = rms_norm(&norm, x.clone()) - norm.forward(x);
        assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
    }

    #[test]
    fn half_precision_does_not_overflow() {
        let device = Device::flex();
        let norm = RmsNormConfig::new(4).init(&device);
        // Its square is beyond f16.
        let x = Tensor::<3>::ones([1, 1, 4], (&device, DType::F16)) * 1000.0;
        let y = rms_norm(&norm, x);
        assert_eq!(y.dtype(), DType::F16);
        assert!(
            y.try_to_vec_as::<f32>()
                .unwrap()
                .iter()
                .all(|y| (y - 1.0).abs() < 1e-3)
        );
    }
}
