//! Between this crate's adapters and those of Burn's own `apply_lora`.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use burn::module::{LoraAdapter, Module, Param, Reparameterization, Reparameterizer};
use burn::tensor::Tensor;

use super::install::{self, Plan};
use super::report::requires_grad;
use super::walk::{self, Change, Look, Place};
use super::{carried, merge};
use crate::adapters::{AnyAdapters, CopyKind, Fresh, replace};
use crate::error::Error;
use crate::lora::{LoraAdapters, LoraConfig};
use crate::settings::ranges::refuse;

/// Burn's adapters as adapters of this crate under `name`.
pub(super) fn from_burn<M: Module>(model: M, name: &str, config: &LoraConfig) -> Result<M, Error> {
    let config = config.layer()?;
    let present = carried::names(&model);
    if !present.is_empty() {
        let present: Vec<String> = present.into_iter().collect();
        return refuse(
            "adapters",
            present.join(", "),
            "expected none but Burn's own",
        );
    }
    let mut found = Found::default();
    walk::visit(&model, &mut found);
    let mut plan = Plan::new(LoraConfig::PEFT_TYPE);
    for path in found.trains {
        plan.copy(path, None, CopyKind::Trained);
    }
    for (path, factors) in found.factors {
        let [Some(a), Some(b)] = factors else {
            continue;
        };
        let [_, rank] = a.lazy_shape().dims();
        if rank != config.rank {
            return refuse(
                "r",
                config.rank,
                "expected the rank of the model's adapters",
            );
        }
        plan.add(
            &path,
            Fresh::new::<_, 2>(config.with_parameters([a, b], None)),
        );
    }
    // Without an update Burn's composition gives the base back.
    let model = walk::map(model, &mut Silence).materialize();
    Ok(install::install(model, name, plan))
}

/// The active adapters as Burn's own. The model keeps the active adapter's copies of its parameters.
pub(super) fn to_burn<M: Module>(model: M) -> Result<M, Error> {
    merge::check_tied(&model)?;
    let taken: Rc<RefCell<HashMap<String, Option<LoraAdapter>>>> = Rc::default();
    let inside = taken.clone();
    let model = walk::edit_adapters(model, move |path, adapters| {
        if adapters.count() > 0 {
            inside.borrow_mut().insert(path.into(), as_burn(adapters));
        }
        // What is left composes nothing.
        adapters.set_active(&[]);
    });
    let mut adapters = HashMap::new();
    for (path, adapter) in taken.take() {
        let Some(adapter) = adapter else {
            return refuse(
                "adapters",
                format!("those of `{path}`"),
                "expected one active LoRA of a 2-D weight, without DoRA and dropout, not merged",
            );
        };
        adapters.insert(path, adapter);
    }
    Ok(model
        .materialize()
        .apply_reparameterization(Attach(adapters)))
}

/// The one active adapter as Burn's own, if it can be one.
fn as_burn(adapters: &dyn AnyAdapters) -> Option<LoraAdapter> {
    let adapters: &LoraAdapters<2> = adapters.as_any().downcast_ref()?;
    let parts = adapters.parts();
    let [(adapter, factor)] = parts.as_slice() else {
        return None;
    };
    if adapter.magnitude.is_some() || adapter.dropout.prob > 0.0 {
        return None;
    }
    Some(LoraAdapter {
        a: adapter.a.clone(),
        b: adapter.b.clone(),
        scale: adapter.scale * factor,
    })
}

/// Attaches Burn's adapters, by the path of the weight.
struct Attach(HashMap<String, LoraAdapter>);

impl Reparameterizer for Attach {
    type Reparam = LoraAdapter;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<LoraAdapter>) {
        (param, self.0.remove(path))
    }
}

#[derive(Default)]
struct Found {
    /// A and B of Burn's adapters, by the path of the module.
    factors: HashMap<String, [Option<Param<Tensor<2>>>; 2]>,
    /// Paths of the model's own parameters that train.
    trains: BTreeSet<String>,
}

impl Look for Found {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>) {
        let Some((path, factor)) = place.burn_adapter() else {
            if requires_grad(param) {
                self.trains.insert(place.path.join("."));
            }
            return;
        };
        let param: Box<dyn std::any::Any> = Box::new(param.clone());
        let at = usize::from(factor != "a");
        let factors = self.factors.entry(path).or_default();
        factors[at] = param.downcast().ok().map(|param| *param);
    }
}

/// Sets B of Burn's adapters to zero.
struct Silence;

impl Change for Silence {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        match place.burn_adapter() {
            Some((_, "b")) => replace(param, |value| value.zeros_like()),
            _ => param,
        }
    }
}

impl Place<'_> {
    /// Module and factor (`a`, `b`) where this belongs to an adapter of Burn's.
    fn burn_adapter(&self) -> Option<(String, &str)> {
        match self.behind(LoraAdapter::NAME)? {
            (module, [factor]) => Some((module, factor)),
            _ => None,
        }
    }
}
