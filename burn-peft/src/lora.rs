//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685), with rsLoRA and DoRA.

mod adapter;
mod adapters;
mod config;
mod conv;
pub(crate) mod edit;
mod embedding;
mod init;
mod linear;
mod product;
mod replace;

pub use adapter::Adapter;
pub(crate) use adapter::at;
pub use adapters::Adapters;
pub(crate) use adapters::AnyAdapters;
pub use config::LoraConfig;
pub(crate) use config::place;
pub use conv::Conv2dAdapted;
pub use embedding::EmbeddingAdapted;
pub use init::Initialization;
pub use linear::{LinearAdapted, LoraLinear};
pub(crate) use replace::replace;
