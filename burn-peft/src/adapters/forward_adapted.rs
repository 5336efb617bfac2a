//! The forward pass of layers with adapters.

/// A layer of Burn with the adapters on its weight; `I` is the type of its input.
///
/// Call `forward_adapted` in a model's `forward` where you would call `forward`. Without adapters
/// it is [`forward_recorded`](burn_ief::nn). With adapters it computes along the activations and
/// records the use of every trainable parameter per sample while a [`Tape`](burn_ief::Tape) is
/// alive.
///
/// | layer | input | output |
/// | --- | --- | --- |
/// | [`Linear`](burn::nn::Linear) | `[M, …, d_input]` | `[M, …, d_output]` |
/// | [`Embedding`](burn::nn::Embedding) | indices `[M, T]` | `[M, T, d_model]` |
/// | [`Conv2d`](burn::nn::conv::Conv2d) | `[M, channels, height, width]` | `[M, channels_out, …]` |
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_peft::{ForwardAdapted, LoraConfig};
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(16, 32).init(&device);
/// let layer = LoraConfig::new().linear("default", layer)?;
/// let x = Tensor::<3>::ones([2, 5, 16], &device);
/// assert_eq!(layer.forward_adapted(x).dims(), [2, 5, 32]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
pub trait ForwardAdapted<I> {
    /// What the layer computes.
    type Output;

    /// Apply the layer and its active adapters.
    ///
    /// # Panics
    ///
    /// Panics if the shape of `input` does not fit the layer.
    fn forward_adapted(&self, input: I) -> Self::Output;
}
