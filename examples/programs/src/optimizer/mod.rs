//! Optimizers by name: the natural-gradient methods of `burn-ief`, and those of Burn that they are
//! compared with.

mod adamw;
mod any;
mod config;
mod muon;
mod name;

pub use adamw::AdamWOptions;
pub use any::AnyOptimizer;
pub use config::{DecayOptions, OptimizerConfig, SgdOptions, merge};
pub use muon::{FlatMuon, FlatState, MuonOptions};
pub use name::{OptimizerName, optimizer};
