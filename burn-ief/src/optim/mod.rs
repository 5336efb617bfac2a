//! The optimizer that trains a model with any method.

mod descent;
mod init;
mod natural_optimizer;
mod record;
mod shard;

pub use descent::{MethodOptimizer, NaturalDescent};
pub use init::InitOptimizer;
pub use natural_optimizer::NaturalOptimizer;
pub use record::NaturalRecord;
pub use shard::{MeasuredShard, ShardRecorder};
