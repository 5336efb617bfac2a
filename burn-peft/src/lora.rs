//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685).

mod config;
mod linear;

pub use config::LoraConfig;
pub use linear::LoraLinear;
