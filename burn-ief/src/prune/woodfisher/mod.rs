//! WoodFisher: pruning by the inverse of a block-diagonal Fisher matrix.

mod block;
mod blocks;
mod config;
mod fisher;
mod order;
mod removal;
mod target;

pub use config::{Compensation, PruneCurvature, Selection, WoodFisherConfig};
pub use fisher::WoodFisher;
pub use order::BlockOrder;
