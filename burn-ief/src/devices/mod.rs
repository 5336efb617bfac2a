//! Training on several devices: replicas of a model whose shards make one exact step.

mod replicas;
mod team;
mod tree;
mod worker;

pub use replicas::Replicas;
#[cfg(feature = "train")]
pub(crate) use team::Team;
