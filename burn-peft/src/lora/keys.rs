//! The tensors that LoRA stores for a layer.

use crate::adapters::AdapterPart;

impl AdapterPart {
    /// LoRA's A of a linear layer `[r, in]` or a convolution `[r, in, k, k]`.
    pub const LORA_A: Self = Self::new("lora_A.weight");
    /// LoRA's B of a linear layer `[out, r]` or a convolution `[out, r, 1, 1]`.
    pub const LORA_B: Self = Self::new("lora_B.weight");
    /// LoRA's A of an embedding `[r, num_embeddings]`.
    pub const LORA_EMBEDDING_A: Self = Self::new("lora_embedding_A");
    /// LoRA's B of an embedding `[dim, r]`.
    pub const LORA_EMBEDDING_B: Self = Self::new("lora_embedding_B");
    /// The rows of the tokens in LoRA's `trainable_token_indices`, `[n, d]`.
    pub const TRAINABLE_TOKENS: Self = Self::new("token_adapter.trainable_tokens_delta");
    /// DoRA's norms: `[out]` of a linear layer, `[dim]` of an embedding, `[1, out, 1, 1]` of a
    /// convolution.
    pub const LORA_MAGNITUDE: Self = Self::new("lora_magnitude_vector");
}

const ALL: [AdapterPart; 5] = [
    AdapterPart::LORA_A,
    AdapterPart::LORA_B,
    AdapterPart::LORA_EMBEDDING_A,
    AdapterPart::LORA_EMBEDDING_B,
    AdapterPart::LORA_MAGNITUDE,
];

/// The tensor of this name.
pub(super) fn part(suffix: &str) -> Option<AdapterPart> {
    if suffix == "lora_magnitude_vector.weight" {
        return Some(AdapterPart::LORA_MAGNITUDE);
    }
    ALL.into_iter().find(|part| part.suffix() == suffix)
}
