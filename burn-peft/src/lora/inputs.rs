//! The inputs of layers with low-rank adapters, while someone collects them.

use std::cell::RefCell;
use std::collections::HashMap;

use burn::module::ParamId;
use burn::tensor::Tensor;

use super::factors::LoraFactors;
use crate::adapters::{at, at_least_f32};

/// Sums over all inputs of a layer, `[N, d_in]` together.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    /// N.
    pub count: usize,
    /// Their sum, `[d_in]`.
    pub sum: Tensor<1>,
    /// The sum of their outer products, `[d_in, d_in]`.
    pub products: Tensor<2>,
}

thread_local! {
    /// By A of the layer's adapter.
    static COLLECTED: RefCell<Option<HashMap<ParamId, Moments>>> = const { RefCell::new(None) };
}

/// The inputs of layers that `run` passes, by A of their adapters.
pub(crate) fn collected(run: impl FnOnce()) -> HashMap<ParamId, Moments> {
    /// Ends the collection even if `run` panics.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            COLLECTED.set(None);
        }
    }
    let _guard = Guard;
    COLLECTED.set(Some(HashMap::new()));
    run();
    COLLECTED.take().unwrap_or_default()
}

/// Note the input of a layer, if someone collects.
pub(super) fn note(parts: &[(&LoraFactors<2>, f64)], x: &Tensor<3>) {
    COLLECTED.with_borrow_mut(|collected| {
        let Some(collected) = collected else {
            return;
        };
        let [batch, positions, width] = x.dims();
        let x = if x.is_autodiff() {
            x.clone().inner()
        } else {
            x.clone()
        };
        let dtype = at_least_f32(x.dtype());
        let x = at(x, dtype).reshape([batch * positions, width]);
        for (adapter, _) in parts {
            let sum = x.clone().sum_dim(0).reshape([width]);
            let products = x.clone().transpose().matmul(x.clone());
            let moments = collected.remove(&adapter.a.id);
            let moments = match moments {
                None => Moments {
                    count: batch * positions,
                    sum,
                    products,
                },
                Some(moments) => Moments {
                    count: moments.count + batch * positions,
                    sum: moments.sum + sum,
                    products: moments.products + products,
                },
            };
            collected.insert(adapter.a.id, moments);
        }
    });
}
