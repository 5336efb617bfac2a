//! Glue to `burn::train`: the module wrapper, the loader, and a metric (feature `train`).
//!
//! A learner takes a natural-gradient method through two doors. [`Natural`] wraps the model where
//! the `Learner` is made, and [`train_output`] takes the place of `TrainOutput::new` at the end of
//! the model's own `TrainStep::step`. Everything else stays as it is. [`Sparse`] keeps pruned weights
//! pruned, under any optimizer.

mod loader;
mod metric;
mod natural;
mod scope;
mod sparse;
mod stop;

pub use loader::EpochLoader;
pub use metric::{SolveMetric, SolveQuantity};
pub use natural::{Method, Natural, Reduction};
pub use scope::train_output;
pub use sparse::Sparse;
