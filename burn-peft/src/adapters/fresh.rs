//! Adapters that are made and not yet on their weights.

use std::any::Any;

use burn::module::Param;
use burn::tensor::Tensor;

use super::layer_adapter::LayerAdapter;
use super::stack::Adapters;

/// An adapter of any method at any rank.
pub(crate) trait NewAdapter {
    /// Put the adapter on its weight, a `Param` of the adapter's rank that carries none yet.
    fn attach(self: Box<Self>, name: &str, weight: Box<dyn Any>) -> Box<dyn Any>;

    /// The adapter itself, for a weight that carries some already.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// What a layer gets: an adapter, and what is left of the weight where part of it moved into the
/// adapter.
pub(crate) struct Fresh {
    pub adapter: Box<dyn NewAdapter>,
    /// A plain tensor of the weight's rank.
    pub rest: Option<Box<dyn Any>>,
}

impl Fresh {
    /// An adapter of a weight of rank `D` that stays as it is.
    pub fn new<A: LayerAdapter<D>, const D: usize>(adapter: A) -> Self {
        Self {
            adapter: Box::new(AtRank::<A, D>(adapter)),
            rest: None,
        }
    }

    /// An adapter of a weight of rank `D` that takes this value.
    pub fn with_rest<A: LayerAdapter<D>, const D: usize>(adapter: A, rest: Tensor<D>) -> Self {
        Self {
            rest: Some(Box::new(rest)),
            ..Self::new::<A, D>(adapter)
        }
    }
}

struct AtRank<A, const D: usize>(A);

impl<A: LayerAdapter<D>, const D: usize> NewAdapter for AtRank<A, D> {
    fn attach(self: Box<Self>, name: &str, weight: Box<dyn Any>) -> Box<dyn Any> {
        match weight.downcast::<Param<Tensor<D>>>() {
            Ok(weight) => Box::new(Adapters::new(name, self.0).attach(*weight)),
            Err(_) => unreachable!("an adapter is made at its weight's rank"),
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.0)
    }
}
