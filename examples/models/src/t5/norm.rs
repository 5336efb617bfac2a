//! RMS norm at the precision of its input.

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor};
use burn_ief::nn::expand_param;

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
        let [batch, _, _] = x.dims();
        let dtype = x.dtype();
        let x = match dtype {
            DType::F16 | DType::BF16 => x.cast(DType::F32),
            _ => x,
        };
        let mean_square = x.clone().square().mean_dim(2);
        let x = (x / (mean_square + self.epsilon).sqrt()).cast(dtype);
        let weight = expand_param::<_, 2>(&self.weight, batch);
        x * weight.unsqueeze_dim(1)
    }
}
