//! Integration with `burn::train` (feature `train`): the module wrapper, the data loader, and a metric.
//!
//! A learner trains with a natural-gradient method after two changes. [`NaturalModel`] wraps the model
//! where the `Learner` is made, and [`train_output`] replaces `TrainOutput::new` at the end of the
//! model's own `TrainStep::step`. Everything else stays as it is. [`Sparse`] keeps pruned weights
//! pruned, with any optimizer, and [`DataParallel`] trains on several devices.

mod data_parallel;
mod loader;
mod mailbox;
mod metric;
mod natural_model;
mod scope;
mod share;
mod sparse;
mod stop;

pub use data_parallel::DataParallel;
pub use loader::EpochLoader;
pub use metric::{SolveMetric, SolveQuantity};
pub use natural_model::NaturalModel;
pub use scope::train_output;
pub use sparse::Sparse;
