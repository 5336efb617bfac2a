//! 2-D convolutions with low-rank adapters.

use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn_ief::nn::{Conv2dRecorded, DropoutRecorded};

use super::adapter::{Adapter, at};
use super::adapters::{Adapters, bare};

/// A [`Conv2d`] with the adapters on its kernels: a convolution to `r` channels with the layer's
/// own kernel size, stride and padding (A), then a 1 × 1 convolution (B).
///
/// Without adapters this is [`Conv2dRecorded::forward_recorded`].
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
        let mut y = base.forward_recorded(input.clone());
        for (adapter, factor) in adapters.parts() {
            let delta = through(adapter, &base, input.clone()) * (adapter.scale * factor);
            y = y.clone() + at(delta, y.dtype());
        }
        y
    }
}

fn through(adapter: &Adapter<4>, base: &Conv2d, input: Tensor<4>) -> Tensor<4> {
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
    let entering = at(input, adapter.a.val().dtype());
    let hidden = first.forward_recorded(adapter.dropout.forward_recorded(entering));
    second.forward_recorded(hidden)
}
