//! LoKr: a Kronecker product of two small matrices, the second of which may be a low-rank product (Yeh et
//! al. 2023, LyCORIS, arXiv 2309.14859).
//!
//! [`LokrConfig`] is the configuration and [`LokrFactors`] one adapter on one weight.

mod config;
mod factors;
mod init_weights;
mod sizes;
mod tuner;

pub use config::LokrConfig;
pub use factors::{KroneckerFactor, LokrAdapters, LokrFactors};
pub use init_weights::InitLokrWeights;
