//! Models that are trained from scratch.

mod cnn;
mod encoder;
mod text;
mod vit;

pub use cnn::{Cnn, CnnConfig};
pub use text::{PADDING, TextTransformer, TextTransformerConfig};
pub use vit::{PictureTransformer, PictureTransformerConfig};
