//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685), with rsLoRA and DoRA.
//!
//! [`LoraConfig`] is the configuration, [`LoraFactors`] one adapter on one weight, and
//! [`LoraLinear`] a layer that holds its adapter as a field.

mod config;
mod conv;
mod embedding;
mod eva;
mod factors;
mod forward;
mod init_weights;
mod initial_values;
mod inputs;
mod keys;
mod layer_config;
mod linear;
mod lora_linear;
mod product;
mod tensors;
mod token_indices;
mod tokens;
mod tuner;

pub use crate::settings::Scales;
pub use config::LoraConfig;
pub use eva::EvaConfig;
pub(crate) use eva::{Components, ranks};
pub use factors::{LoraAdapters, LoraFactors};
pub use init_weights::InitLoraWeights;
pub(crate) use inputs::collected;
pub use lora_linear::LoraLinear;
pub use token_indices::TokenIndices;
