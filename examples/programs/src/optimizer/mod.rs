//! Optimizers by name: the natural-gradient methods of `burn-ief`, and those of Burn that they are
//! compared with.

mod name;

pub use name::{OptimizerName, optimizer};
