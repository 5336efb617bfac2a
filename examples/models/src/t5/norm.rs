//! RMS norm at the precision of its input.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn_flex_fused::rms_norm;
use burn_ief::nn::expand_param;
use burn_ief::recorder;

/// `x / √(mean(x²) + ε) ∘ weight` along the last axis, without a shift.
///
/// Burn's `RmsNorm` takes the mean square in f32 whatever the input; this one takes it in f32 only
/// for narrower inputs.
#[derive(Module, Debug)]
pub(super) struct Norm {
    pub weight: Param<Tensor<1>>,
    pub epsilon: f64,
}

impl Norm {
    /// `[M, T, d_model]` to `[M, T, d_model]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        if recorder().is_none() || !self.weight.is_require_grad() {
            return rms_norm(x, self.weight.val(), self.epsilon);
        }
        // One copy of the weight per sample, whose gradient is the sample's.
        let [batch, _, width] = x.dims();
        let ones = Tensor::ones([width], (&x.device().inner(), x.dtype()));
        let normal = rms_norm(x, ones, self.epsilon);
        let weight = expand_param::<_, 2>(&self.weight, batch);
        normal * weight.unsqueeze_dim(1)
    }
}
