//! Vision transformers: ViT, and DINOv2 in [`dinov2`].

mod attention;
mod config;
pub mod dinov2;
mod embeddings;
mod encoder;
mod model;
mod positions;

pub use attention::{ViTAttention, ViTAttentionOutput};
pub use config::ViTConfig;
pub use embeddings::{ViTEmbeddings, ViTPatchEmbeddings};
pub use encoder::{ViTEncoder, ViTIntermediate, ViTLayer, ViTOutput};
pub use model::{ViTClassification, ViTEncoding, ViTForImageClassification, ViTInput, ViTModel};
