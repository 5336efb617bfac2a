//! Burn's transformer decoder.

use burn::nn::transformer::{TransformerDecoder, TransformerDecoderInput, TransformerDecoderLayer};
use burn::tensor::{Bool, Tensor};

use super::{AttentionInput, ForwardRecorded};
use crate::record::{is_empty_batch, recorder};

/// Input of the recorded [`TransformerDecoder`], and input and output of the recorded
/// [`TransformerDecoderLayer`].
///
/// It has the fields of Burn's [`TransformerDecoderInput`], which are private there, and converts
/// into it.
///
/// ```
/// use burn::nn::attention::generate_autoregressive_mask;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::DecoderInput;
///
/// let device = Device::flex();
/// let target = Tensor::<3>::ones([2, 5, 8], &device);
/// let memory = Tensor::<3>::ones([2, 7, 8], &device);
/// let input = DecoderInput::new(target, memory)
///     .target_mask_attn(generate_autoregressive_mask(2, 5, &device));
/// assert!(input.memory_mask_pad.is_none());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DecoderInput {
    /// `[M, T, d_model]`.
    pub target: Tensor<3>,
    /// True for positions of the target to leave out, `[M, T]`, or `[1, T]` for all samples.
    pub target_mask_pad: Option<Tensor<2, Bool>>,
    /// True for pairs to leave out, `[M, T, T]`, or `[1, T, T]` for all samples.
    pub target_mask_attn: Option<Tensor<3, Bool>>,
    /// What the encoder returned, `[M, U, d_model]`.
    pub memory: Tensor<3>,
    /// True for positions of the memory to leave out, `[M, U]`, or `[1, U]` for all samples.
    pub memory_mask_pad: Option<Tensor<2, Bool>>,
    /// True for pairs to leave out, `[M, T, U]`, or `[1, T, U]` for all samples.
    pub memory_mask_attn: Option<Tensor<3, Bool>>,
}

impl DecoderInput {
    /// Target `[M, T, d_model]` and memory `[M, U, d_model]`, without masks.
    pub fn new(target: Tensor<3>, memory: Tensor<3>) -> Self {
        Self {
            target,
            target_mask_pad: None,
            target_mask_attn: None,
            memory,
            memory_mask_pad: None,
            memory_mask_attn: None,
        }
    }

    /// Set the padding mask of the target.
    pub fn target_mask_pad(mut self, mask_pad: Tensor<2, Bool>) -> Self {
        self.target_mask_pad = Some(mask_pad);
        self
    }

    /// Set the attention mask of the target.
    pub fn target_mask_attn(mut self, mask_attn: Tensor<3, Bool>) -> Self {
        self.target_mask_attn = Some(mask_attn);
        self
    }

    /// Set the padding mask of the memory.
    pub fn memory_mask_pad(mut self, mask_pad: Tensor<2, Bool>) -> Self {
        self.memory_mask_pad = Some(mask_pad);
        self
    }

    /// Set the attention mask between target and memory.
    pub fn memory_mask_attn(mut self, mask_attn: Tensor<3, Bool>) -> Self {
        self.memory_mask_attn = Some(mask_attn);
        self
    }
}

impl From<DecoderInput> for TransformerDecoderInput {
    fn from(input: DecoderInput) -> Self {
        let mut decoder = Self::new(input.target, input.memory);
        if let Some(mask) = input.target_mask_pad {
            decoder = decoder.target_mask_pad(mask);
        }
        if let Some(mask) = input.target_mask_attn {
            decoder = decoder.target_mask_attn(mask);
        }
        if let Some(mask) = input.memory_mask_pad {
            decoder = decoder.memory_mask_pad(mask);
        }
        if let Some(mask) = input.memory_mask_attn {
            decoder = decoder.memory_mask_attn(mask);
        }
        decoder
    }
}

/// Records both attentions, the feed-forward layers and the norms.
///
/// Like Burn's `forward`, it returns its input with the target replaced, for the next layer. For
/// generation with a cache call Burn's `forward_autoregressive_inference`, outside of a recording.
///
/// # Shapes
///
/// - input: a [`DecoderInput`]
/// - output: the same, with the new target `[M, T, d_model]`
///
/// ```
/// use burn::nn::transformer::TransformerDecoderConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::{DecoderInput, ForwardRecorded};
///
/// let device = Device::flex().autodiff();
/// let decoder = TransformerDecoderConfig::new(8, 16, 2, 1).init(&device);
/// let target = Tensor::<3>::ones([4, 5, 8], &device);
/// let memory = Tensor::<3>::ones([4, 7, 8], &device);
/// let input = DecoderInput::new(target, memory);
/// assert_eq!(decoder.layers[0].forward_recorded(input).target.dims(), [4, 5, 8]);
/// ```
impl ForwardRecorded<DecoderInput> for TransformerDecoderLayer {
    type Output = DecoderInput;

    fn forward_recorded(&self, mut input: DecoderInput) -> DecoderInput {
        if is_empty_batch(input.target.dims()[0]) {
            return input;
        }
        // The target of Burn's `forward` cannot be read, so this is the layer outside of a recording
        // too, from parts that compute the same there. The residual path does not pass through a
        // recorded call, so it is repeated here.
        let x = match recorder() {
            Some(recorder) => recorder.batch(input.target),
            None => input.target,
        };
        let path = if self.norm_first {
            self.norm_3.forward_recorded(x.clone())
        } else {
            x.clone()
        };
        let attention = AttentionInput {
            mask_pad: input.target_mask_pad.clone(),
            mask_attn: input.target_mask_attn.clone(),
            ..AttentionInput::self_attn(path)
        };
        let path = self.self_attn.forward_recorded(attention).context;
        let x = x + self.dropout.forward_recorded(path);

        let normed = self.norm_1.forward_recorded(x.clone());
        let x = if self.norm_first { x } else { normed.clone() };
        let memory = input.memory.clone();
        let attention = AttentionInput {
            mask_pad: input.memory_mask_pad.clone(),
            mask_attn: input.memory_mask_attn.clone(),
            ..AttentionInput::new(normed, memory.clone(), memory)
        };
        let path = self.cross_attn.forward_recorded(attention).context;
        let x = x + self.dropout.forward_recorded(path);

        let normed = self.norm_2.forward_recorded(x.clone());
        let x = if self.norm_first { x } else { normed.clone() };
        let path = self.pwff.forward_recorded(normed);
        let x = x + self.dropout.forward_recorded(path);
        input.target = if self.norm_first {
            x
        } else {
            self.norm_3.forward_recorded(x)
        };
        input
    }
}

/// Records all layers.
///
/// # Shapes
///
/// - input: a [`DecoderInput`]
/// - output: `[M, T, d_model]`
///
/// ```
/// use burn::nn::attention::generate_autoregressive_mask;
/// use burn::nn::transformer::TransformerDecoderConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::{DecoderInput, ForwardRecorded};
///
/// let device = Device::flex().autodiff();
/// let decoder = TransformerDecoderConfig::new(8, 16, 2, 2).init(&device);
/// let target = Tensor::<3>::ones([4, 5, 8], &device);
/// let memory = Tensor::<3>::ones([4, 7, 8], &device);
/// let input = DecoderInput::new(target, memory)
///     .target_mask_attn(generate_autoregressive_mask(4, 5, &device));
/// assert_eq!(decoder.forward_recorded(input).dims(), [4, 5, 8]);
/// ```
impl ForwardRecorded<DecoderInput> for TransformerDecoder {
    type Output = Tensor<3>;

    fn forward_recorded(&self, mut input: DecoderInput) -> Tensor<3> {
        if is_empty_batch(input.target.dims()[0]) {
            return input.target;
        }
        // Outside of a recording too, so that both compute the same.
        for layer in &self.layers {
            input = layer.forward_recorded(input);
        }
        input.target
    }
}
