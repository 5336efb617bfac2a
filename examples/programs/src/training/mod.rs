//! Progress, losses and times of `burn::train` learners.

mod progress;
mod watched;

pub use progress::Progress;
pub use watched::{StepLog, Watched, WithLoss};
