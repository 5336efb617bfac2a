//! Putting adapters into a model, after everything has been checked.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use burn::module::{Module, Param, Reparameterization, Reparameterizer};
use burn::tensor::Tensor;

use super::operate;
use super::walk::{self, Change, Place, joined};
use crate::lora::{Adapter, Adapters};

/// Adapters by the path of their module, an `Adapter` of the weight's rank each.
pub(super) type Pending = HashMap<String, Box<dyn Any>>;

/// Hang the adapters on their weights under `name`, which becomes the one active adapter.
pub(super) fn attach<M: Module>(model: M, name: &str, adapters: Pending) -> M {
    let pending = Rc::new(RefCell::new(adapters));
    let (left, own) = (pending.clone(), name.to_string());
    // Weights that carry adapters already take one more.
    let model = walk::edit_adapters(operate::fold(model, false), move |path, adapters| {
        let Some(adapter) = left.borrow_mut().remove(path) else {
            return;
        };
        if adapters.insert(&own, adapter).is_err() {
            unreachable!("an adapter is made at its weight's rank");
        }
    });
    let mut first = pending.take();
    let model = hang(model, of_rank::<2>(&mut first, name));
    let model = hang(model, of_rank::<4>(&mut first, name));
    operate::activate(model, &[(name, 1.0)])
}

/// Take out the adapters of one rank.
fn of_rank<const D: usize>(pending: &mut Pending, name: &str) -> HashMap<String, Adapters<D>> {
    let own = pending.extract_if(|_, adapter| adapter.is::<Adapter<D>>());
    let own = own.filter_map(|(path, adapter)| {
        let adapter = adapter.downcast::<Adapter<D>>().ok()?;
        Some((path, Adapters::new(name, *adapter)))
    });
    own.collect()
}

/// Attach reparameterizations to the weights of the modules at these paths, which have none.
pub(super) fn hang<M: Module, R: Reparameterization>(model: M, at: HashMap<String, R>) -> M {
    let at = at.into_iter();
    let at = at.map(|(module, state)| (joined(&module, "weight"), state));
    model.apply_reparameterization(Hang(at.collect()))
}

/// By the path of the weight.
struct Hang<R>(HashMap<String, R>);

impl<R: Reparameterization> Reparameterizer for Hang<R> {
    type Reparam = R;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<R>) {
        (param, self.0.remove(path))
    }
}

/// Train exactly the model's own parameters that `trains` names by path, and leave the adapters
/// as they are.
pub(super) fn train_only<M: Module>(model: M, trains: impl Fn(&str) -> bool) -> M {
    struct Freeze<F>(F);
    impl<F: Fn(&str) -> bool> Change for Freeze<F> {
        fn change<const D: usize>(
            &mut self,
            place: Place<'_>,
            param: Param<Tensor<D>>,
        ) -> Param<Tensor<D>> {
            match place.adapter() {
                Some(_) => param,
                None => {
                    let trains = self.0(&place.path.join("."));
                    param.set_require_grad(trains)
                }
            }
        }
    }
    walk::map(model, &mut Freeze(trains))
}
