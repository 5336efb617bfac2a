//! The optimizer that trains a model with any method.

mod init;
mod natural_optimizer;
mod record;

pub use init::InitOptimizer;
pub use natural_optimizer::{MethodOptimizer, NaturalDescent, NaturalOptimizer};
pub use record::NaturalRecord;
