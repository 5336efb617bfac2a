//! Recorded forms of Burn's own layers.
//!
//! Each is an extension trait with one method, `forward_recorded` (or `expand_batch` for a
//! parameter that all samples share). Outside a recording, and for modules that do not require
//! gradients, it calls Burn's `forward`: the same bits, no cost. Inside a [`Tape`](crate::Tape) it
//! agrees with it to rounding and records the use of every trainable parameter.
//!
//! The batch is axis 0 everywhere.

mod attention;
mod broadcast;
mod conv;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod transformer;

pub use attention::{AttentionInput, MultiHeadAttentionRecorded};
pub use broadcast::ParamRecorded;
pub use conv::{Conv1dRecorded, Conv2dRecorded};
pub use dropout::DropoutRecorded;
pub use embedding::EmbeddingRecorded;
pub use linear::LinearRecorded;
pub use norm::{GroupNormRecorded, LayerNormRecorded, RmsNormRecorded};
pub use transformer::{
    PositionWiseFeedForwardRecorded, TransformerEncoderLayerRecorded, TransformerEncoderRecorded,
};
