//! Adapters that are made and not yet on their weights.

use std::any::Any;
use std::marker::PhantomData;

use burn::module::Param;
use burn::tensor::Tensor;

use super::edit::AnyAdapters;
use super::layer_adapter::LayerAdapter;
use super::stack::Adapters;

/// What a layer gets: an adapter, and what is left of the weight where part of it moved into the
/// adapter.
pub(crate) struct Fresh {
    /// An adapter of the layer's method and rank.
    pub adapter: Box<dyn Any>,
    /// Puts a stack for such adapters on a weight.
    pub carrier: Box<dyn Carrier>,
    /// A plain tensor of the weight's rank.
    pub rest: Option<Box<dyn Any>>,
}

impl Fresh {
    /// An adapter of a weight of rank `D` that stays as it is.
    pub fn new<A: LayerAdapter<D>, const D: usize>(adapter: A) -> Self {
        Self {
            adapter: Box::new(adapter),
            carrier: carrier::<A, D>(),
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

/// Puts a stack of adapters on a parameter that carries none.
pub(crate) trait Carrier {
    /// `load` fills the stack; `param` and the result are a `Param` of the carrier's rank.
    fn attach(
        &self,
        param: Box<dyn Any>,
        load: &mut dyn FnMut(&mut dyn AnyAdapters),
    ) -> Box<dyn Any>;
}

/// The carrier for adapters of type `A`.
pub(crate) fn carrier<A: LayerAdapter<D>, const D: usize>() -> Box<dyn Carrier> {
    Box::new(Of::<A, D>(PhantomData))
}

struct Of<A, const D: usize>(PhantomData<fn() -> A>);

impl<A: LayerAdapter<D>, const D: usize> Carrier for Of<A, D> {
    fn attach(
        &self,
        param: Box<dyn Any>,
        load: &mut dyn FnMut(&mut dyn AnyAdapters),
    ) -> Box<dyn Any> {
        let mut adapters = Adapters::<A, D>::empty();
        load(&mut adapters);
        match param.downcast::<Param<Tensor<D>>>() {
            Ok(param) => Box::new(adapters.attach(*param)),
            Err(_) => unreachable!("a carrier is made at its weight's rank"),
        }
    }
}
