//! LoHa: the elementwise product of two low-rank products (Hyeon-Woo, Ye-Bin and Oh 2021, FedPara,
//! arXiv 2108.06098; Yeh et al. 2023, LyCORIS, arXiv 2309.14859).
//!
//! [`LohaConfig`] is the configuration and [`LohaFactors`] one adapter on one weight.

mod config;
mod factors;
mod tuner;

pub use config::LohaConfig;
pub use factors::{LohaAdapters, LohaFactors};
