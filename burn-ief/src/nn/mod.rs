//! Burn's layers with a recorded forward pass.
//!
//! Call [`forward_recorded`](ForwardRecorded::forward_recorded) in a model's `forward` where you
//! would call `forward`. While a [`Tape`](crate::Tape) is alive, the call also records what is
//! needed to form the gradient of every trainable parameter sample by sample. Its output agrees
//! with Burn's to rounding. Outside a recording it is the layer's own `forward` and costs nothing.
//! On Flex, norms and transformer layers use the kernels of
//! [`burn_flex_fused`], recorded or not.
//!
//! The batch is axis 0 of every input.
//!
//! # Supported layers
//!
//! M is the batch size, T the number of positions, and "…" any number of further axes.
//!
//! | layer | input | what is recorded |
//! | --- | --- | --- |
//! | [`Linear`] | `[M, …, d_input]` | inputs and output errors; Burn's `LoraAdapter` on the weight is supported |
//! | [`Embedding`] | indices `[M, T]` | indices and output errors; Burn's `LoraAdapter` is supported |
//! | [`Conv1d`] | `[M, channels, length]` | one row per sample, or patches and output errors where these are smaller |
//! | [`Conv2d`] | `[M, channels, height, width]` | as `Conv1d` |
//! | [`LayerNorm`] | `[M, …, d_model]` | one row per sample |
//! | [`RmsNorm`] | `[M, …, d_model]` | one row per sample |
//! | [`GroupNorm`] | `[M, channels, …]` | one row per sample |
//! | [`MultiHeadAttention`] | [`AttentionInput`] | its four linear layers |
//! | [`PositionWiseFeedForward`] | `[M, …, d_model]` | its two linear layers |
//! | [`TransformerEncoderLayer`], [`TransformerEncoder`] | `[M, T, d_model]` or [`EncoderInput`] | the layers inside |
//! | [`Dropout`] | `[M, …]` | nothing: copies of one sample share a mask |
//!
//! These functions record parameters that no layer's `forward` uses in the right way:
//!
//! | function | for |
//! | --- | --- |
//! | [`expand_param`] | a parameter that all samples share: soft prompts, class tokens, position embeddings, scales |
//! | [`embed_shared`] | an embedding of indices that all samples share (positions) |
//! | [`unembed`] | an embedding table as output head (tied weights) |
//!
//! Layers without parameters (activations, pooling, rotary encodings) need no recorded form: call
//! their `forward`. A layer that has parameters and is missing here can be recorded by a rule that
//! you write yourself, see [`Recorder`](crate::Recorder). Without one,
//! [`Jacobian::by_sample`](crate::jacobian::Jacobian::by_sample) works for any model.
//! `BatchNorm` has no per-sample gradients in training mode; freeze it or use another normalisation.
//!
//! [`Linear`]: burn::nn::Linear
//! [`Embedding`]: burn::nn::Embedding
//! [`Conv1d`]: burn::nn::conv::Conv1d
//! [`Conv2d`]: burn::nn::conv::Conv2d
//! [`LayerNorm`]: burn::nn::LayerNorm
//! [`RmsNorm`]: burn::nn::RmsNorm
//! [`GroupNorm`]: burn::nn::GroupNorm
//! [`MultiHeadAttention`]: burn::nn::attention::MultiHeadAttention
//! [`PositionWiseFeedForward`]: burn::nn::transformer::PositionWiseFeedForward
//! [`TransformerEncoderLayer`]: burn::nn::transformer::TransformerEncoderLayer
//! [`TransformerEncoder`]: burn::nn::transformer::TransformerEncoder
//! [`Dropout`]: burn::nn::Dropout

mod attention;
mod conv;
mod dropout;
mod embedding;
mod expand_param;
mod linear;
mod normalization;
mod transformer;

pub use attention::AttentionInput;
pub use embedding::{embed_shared, unembed};
pub use expand_param::expand_param;
pub use transformer::EncoderInput;

/// A layer whose forward pass can be recorded; `I` is the type of its input.
///
/// The [module's page](self) lists Burn's layers that implement it. To add one of your own,
/// implement it with a [`Recorder`](crate::Recorder), whose page has a complete example.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// #[derive(Module, Debug)]
/// struct Model {
///     norm: LayerNorm,
///     head: Linear,
/// }
///
/// impl Model {
///     fn forward(&self, x: Tensor<3>) -> Tensor<3> {
///         let x = self.norm.forward_recorded(x); // instead of `forward`
///         self.head.forward_recorded(x)
///     }
/// }
///
/// let device = Device::flex().autodiff();
/// let model = Model {
///     norm: LayerNormConfig::new(8).init(&device),
///     head: LinearConfig::new(8, 2).init(&device),
/// };
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(model.forward(x).dims(), [4, 7, 2]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no recorded forward pass for an input of type `{I}`",
    note = "`burn_ief::nn` lists the supported layers; `burn_ief::Recorder` shows how to add your own"
)]
pub trait ForwardRecorded<I> {
    /// What the layer returns.
    type Output;

    /// Apply the layer, and record the use of its trainable parameters if a recording is in
    /// progress.
    ///
    /// This call does not fail because of the recording. The recording keeps the first error and
    /// returns it after `backward`.
    ///
    /// # Panics
    ///
    /// Panics like the layer's own `forward` if the shapes do not fit.
    fn forward_recorded(&self, input: I) -> Self::Output;
}
