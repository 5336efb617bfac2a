//! Optimizers by name: the natural-gradient methods of `burn-ief`, and those of Burn that they are
//! compared with.

mod any;
mod name;

pub use any::AnyOptimizer;
pub use name::{OptimizerName, optimizer};
