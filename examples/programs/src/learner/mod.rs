//! Losses, times and progress of `burn::train` learners.

mod progress;
mod watched;

pub use progress::LearnerProgress;
pub use watched::{StepLog, Watched, WithLoss};
