//! 2-D convolutions with low-rank adapters.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn_ief::nn::{ForwardRecorded, expand_param};

use super::adapter::{Adapter, at};
use super::adapters::{Adapters, bare};

/// A [`Conv2d`] with the adapters on its kernels: a convolution to `r` channels with the layer's
/// own kernel size, stride and padding (A), then a 1 × 1 convolution (B). With DoRA, output channels
/// are scaled by the ratio of their magnitudes to the norms of the composed kernels, the bias apart.
///
/// Without adapters this is [`ForwardRecorded::forward_recorded`].
///
/// ```
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{Adapters, Conv2dAdapted, LoraConfig};
///
/// let device = Device::flex().autodiff();
/// let mut conv = Conv2dConfig::new([3, 8], [3, 3]).init(&device);
/// let adapter = LoraConfig::new().with_rank(2).conv2d_adapter(&conv)?;
/// conv.weight = Adapters::new("default", adapter).attach(conv.weight);
/// let x = Tensor::<4>::ones([2, 3, 5, 5], &device);
/// assert_eq!(conv.forward_adapted(x).dims(), [2, 8, 3, 3]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
pub trait Conv2dAdapted {
    /// Apply the layer and its active adapters.
    ///
    /// # Shapes
    ///
    /// - input: `[M, channels_in, height, width]`
    /// - output: `[M, channels_out, height_out, width_out]`
    fn forward_adapted(&self, input: Tensor<4>) -> Tensor<4>;
}

impl Conv2dAdapted for Conv2d {
    fn forward_adapted(&self, input: Tensor<4>) -> Tensor<4> {
        let Some(adapters) = Adapters::of(&self.weight) else {
            return self.forward_recorded(input);
        };
        if self.groups != 1 {
            // A module walk does not see groups, so adapters can get here: two convolutions are not
            // the composed one then, and a recording has no rule for it and says so.
            return self.forward_recorded(input);
        }
        let base = Conv2d {
            weight: bare(&self.weight),
            ..self.clone()
        };
        let parts = adapters.parts();
        if parts.iter().any(|(adapter, _)| adapter.magnitude.is_some()) {
            return decomposed(base, &parts, input);
        }
        let mut y = base.forward_recorded(input.clone());
        for (adapter, factor) in parts {
            let entering = adapter.dropout.forward_recorded(input.clone());
            y = y.clone() + at(through(adapter, &base, entering, factor), y.dtype());
        }
        y
    }
}

/// With DoRA, recorded or not: `(m / ‖W + s B A‖) (W + s B A) ∗ x + b`.
fn decomposed(base: Conv2d, parts: &[(&Adapter<4>, f64)], input: Tensor<4>) -> Tensor<4> {
    let bias = base.bias.clone();
    let base = Conv2d { bias: None, ..base };
    let convolved = base.forward_recorded(input.clone());
    let [batch, channels, ..] = convolved.dims();
    let over_channels = |x: Tensor<2>| x.reshape([batch, channels, 1, 1]);
    let mut y = convolved.clone();
    for &(adapter, factor) in parts {
        let entering = adapter.dropout.forward_recorded(input.clone());
        let delta = through(adapter, &base, entering.clone(), factor);
        let delta = at(delta, y.dtype());
        let Some(ratios) = adapter.ratios(base.weight.val(), factor, batch) else {
            y = y + delta;
            continue;
        };
        let ratios = at(over_channels(ratios), y.dtype());
        let base_part = match adapter.drops() {
            true => base.forward_recorded(entering),
            false => convolved.clone(),
        };
        y = y - base_part.clone() + (base_part + delta) * ratios;
    }
    match bias {
        Some(bias) => y + over_channels(expand_param::<_, 2>(&bias, batch)),
        None => y,
    }
}

/// `s B ∗ (A ∗ x)`.
fn through(adapter: &Adapter<4>, base: &Conv2d, entering: Tensor<4>, factor: f64) -> Tensor<4> {
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
