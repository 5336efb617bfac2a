//! Rows of data, and batches of them.

mod arrays;
mod features;
mod order;
mod pictures;
mod texts;

pub use arrays::{Arrays, TargetValues};
pub use features::features;
pub use order::Batches;
pub use pictures::{cifar10, mnist};
pub use texts::{TextRows, TextSizes, texts};

use burn::tensor::{Device, Int, Tensor};

/// All rows for training, and all for the test.
#[derive(Debug, Clone)]
pub struct Split<R> {
    /// For training.
    pub train: R,
    /// For the test, and nothing else.
    pub test: R,
}

/// What the outputs of a batch are compared with.
#[derive(Debug, Clone)]
pub enum Targets {
    /// Classes `[M]`.
    Classes(Tensor<1, Int>),
    /// Numbers `[M, outputs]`.
    Values(Tensor<2>),
}

/// Rows of which batches can be made.
pub trait Rows {
    /// The inputs of a batch.
    type Inputs;

    /// Number of rows.
    fn count(&self) -> usize;

    /// The rows at these places as a batch, in this order.
    ///
    /// # Panics
    ///
    /// Panics if there is no row at one of the places.
    fn batch(&self, places: &[usize], device: &Device) -> (Self::Inputs, Targets);
}
