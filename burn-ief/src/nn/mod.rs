//! Burn's layers with a recorded forward pass.
//!
//! Call [`forward_recorded`](ForwardRecorded::forward_recorded) in a model's `forward` where you
//! would call `forward`. While a [`Tape`](crate::Tape) is alive, the call also records what is
//! needed to form the gradient of every trainable parameter sample by sample. Its output agrees
//! with Burn's to rounding. Outside a recording it is the layer's own `forward`; norms
//! and transformer layers use the kernels of [`burn_flex_fused`] on Flex, recorded or not.
//!
//! The batch is axis 0 of every input (of a recurrent layer with `batch_first` off it is axis 1).
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
//! | [`Conv2d`], [`Conv3d`] | `[M, channels, …]` | as `Conv1d` |
//! | [`DeformConv2d`] | [`DeformConvInput`] | as `Conv1d` |
//! | [`ConvTranspose1d`], [`ConvTranspose2d`], [`ConvTranspose3d`] | `[M, channels, …]` | one row per sample, or inputs and patches of the output errors where these are smaller |
//! | [`LayerNorm`] | `[M, …, d_model]` | one row per sample |
//! | [`RmsNorm`] | `[M, …, d_model]` | one row per sample |
//! | [`GroupNorm`], [`InstanceNorm`] | `[M, channels, …]` | one row per sample |
//! | [`BatchNorm`] | `[M, channels, …]` | one row per sample, with [frozen statistics](freeze_statistics) |
//! | [`PRelu`] | `[M, channels, …]` | one row per sample |
//! | [`SwiGlu`] | `[M, …, d_input]` | its two linear layers |
//! | [`Normalization`], [`Activation`] | as the layer inside | the layer inside |
//! | [`MultiHeadAttention`] | [`AttentionInput`] | its four linear layers |
//! | [`PositionWiseFeedForward`] | `[M, …, d_model]` | its two linear layers |
//! | [`TransformerEncoderLayer`], [`TransformerEncoder`] | `[M, T, d_model]` or [`EncoderInput`] | the layers inside |
//! | [`CrossAttention`] | `(query, context, Option<mask>)` | its four linear layers |
//! | [`TransformerDecoderLayer`], [`TransformerDecoder`] | [`DecoderInput`] | the layers inside |
//! | [`Rnn`], [`BiRnn`] | `([M, T, d_input], Option<RnnState>)` | the linear layers of the gate, each once for all steps |
//! | [`Lstm`], [`BiLstm`] | `([M, T, d_input], Option<LstmState>)` | as `Rnn`, for every gate |
//! | [`Gru`], [`BiGru`] | `([M, T, d_input], Option<Tensor>)` | as `Rnn`, for every gate |
//! | [`Dropout`] | `[M, …]` | nothing: copies of one sample share a mask |
//!
//! These functions record parameters that no layer's `forward` uses in the right way:
//!
//! | function | for |
//! | --- | --- |
//! | [`expand_param`] | a parameter that all samples share: soft prompts, class tokens, position embeddings, scales |
//! | [`embed_shared`] | an embedding of indices that all samples share (positions) |
//! | [`unembed`] | an embedding table as output head (tied weights) |
//! | [`record_low_rank`] | the factors of a low-rank adapter, in an adapted layer of your own |
//!
//! Layers without parameters (activations, pooling, rotary encodings) need no recorded form: call
//! their `forward`. A layer that has parameters and is missing here can be recorded by a rule that
//! you write yourself, see [`Recorder`](crate::Recorder). Without one,
//! [`Jacobian::by_sample`](crate::jacobian::Jacobian::by_sample) works for any model.
//! `BatchNorm` has no per-sample gradients in training mode: [`freeze_statistics`] makes it use its stored
//! statistics while everything still trains.
//!
//! [`Linear`]: burn::nn::Linear
//! [`Embedding`]: burn::nn::Embedding
//! [`Conv1d`]: burn::nn::conv::Conv1d
//! [`Conv2d`]: burn::nn::conv::Conv2d
//! [`Conv3d`]: burn::nn::conv::Conv3d
//! [`DeformConv2d`]: burn::nn::conv::DeformConv2d
//! [`ConvTranspose1d`]: burn::nn::conv::ConvTranspose1d
//! [`ConvTranspose2d`]: burn::nn::conv::ConvTranspose2d
//! [`ConvTranspose3d`]: burn::nn::conv::ConvTranspose3d
//! [`LayerNorm`]: burn::nn::LayerNorm
//! [`RmsNorm`]: burn::nn::RmsNorm
//! [`GroupNorm`]: burn::nn::GroupNorm
//! [`InstanceNorm`]: burn::nn::InstanceNorm
//! [`BatchNorm`]: burn::nn::BatchNorm
//! [`PRelu`]: burn::nn::PRelu
//! [`SwiGlu`]: burn::nn::SwiGlu
//! [`Normalization`]: burn::nn::norm::Normalization
//! [`Activation`]: burn::nn::activation::Activation
//! [`MultiHeadAttention`]: burn::nn::attention::MultiHeadAttention
//! [`PositionWiseFeedForward`]: burn::nn::transformer::PositionWiseFeedForward
//! [`TransformerEncoderLayer`]: burn::nn::transformer::TransformerEncoderLayer
//! [`TransformerEncoder`]: burn::nn::transformer::TransformerEncoder
//! [`CrossAttention`]: burn::nn::attention::CrossAttention
//! [`TransformerDecoderLayer`]: burn::nn::transformer::TransformerDecoderLayer
//! [`TransformerDecoder`]: burn::nn::transformer::TransformerDecoder
//! [`Rnn`]: burn::nn::Rnn
//! [`BiRnn`]: burn::nn::BiRnn
//! [`Lstm`]: burn::nn::Lstm
//! [`BiLstm`]: burn::nn::BiLstm
//! [`Gru`]: burn::nn::gru::Gru
//! [`BiGru`]: burn::nn::gru::BiGru
//! [`Dropout`]: burn::nn::Dropout

mod activation;
mod attention;
mod conv;
mod cross_attention;
mod decoder;
mod dropout;
mod embedding;
mod expand_param;
mod linear;
mod low_rank;
mod norm;
mod recurrent;
mod transformer;

pub use attention::AttentionInput;
pub use conv::DeformConvInput;
pub use decoder::DecoderInput;
pub use dropout::attention_dropout;
pub use embedding::{embed_shared, unembed};
pub use expand_param::expand_param;
pub use low_rank::record_low_rank;
pub use norm::{freeze_statistics, unfreeze_statistics};
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
