//! What the adapters of one method share in a model.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use super::part::AdapterPart;

/// Tensors that the adapters of a model share and that do not train, off the autodiff graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(BTreeMap<AdapterPart, Tensor<2>>);

impl Shared {
    pub fn new(tensors: impl IntoIterator<Item = (AdapterPart, Tensor<2>)>) -> Self {
        Self(tensors.into_iter().collect())
    }

    pub fn get(&self, part: AdapterPart) -> Option<&Tensor<2>> {
        self.0.get(&part)
    }

    /// Add what another adapter has: of two tensors of a part the larger one, because a layer may use
    /// some rows and columns only.
    pub fn merge(&mut self, other: Self) {
        for (part, tensor) in other.0 {
            let present = self
                .0
                .get(&part)
                .map(|tensor| tensor.shape().num_elements());
            if present.is_none_or(|size| size < tensor.shape().num_elements()) {
                self.0.insert(part, tensor);
            }
        }
    }
}

impl IntoIterator for Shared {
    type Item = (AdapterPart, Tensor<2>);
    type IntoIter = std::collections::btree_map::IntoIter<AdapterPart, Tensor<2>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
