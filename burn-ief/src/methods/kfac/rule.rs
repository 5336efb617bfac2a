//! What the members of the K-FAC family differ in.

use std::fmt::Debug;

use super::options::FactorLabels;
use crate::record::LabelDraw;

/// A member of the K-FAC family: whose errors the second factor of a layer is made of.
pub trait FactorRule: Clone + Debug + Send + Sync + 'static {
    /// Whose errors.
    fn factor_labels(&self) -> FactorLabels;

    /// The labels that copies of the batch carry in a step that measures the factors; `None` for
    /// true labels alone.
    fn labels(&self, _step: u64) -> Option<LabelDraw> {
        None
    }
}
