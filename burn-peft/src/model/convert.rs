//! Between this crate's adapters and those of Burn's own `apply_lora`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use burn::module::{LoraAdapter, Module, Param, Reparameterization};
use burn::tensor::Tensor;

use super::attach::{self, Pending};
use super::operate;
use super::walk::{self, Change, Look, Place};
use crate::error::Error;
use crate::lora::{Adapter, LoraConfig};

/// Burn's adapters as adapters of this crate under `name`.
pub(super) fn from_burn<M: Module>(model: M, name: &str, config: &LoraConfig) -> Result<M, Error> {
    config.validate()?;
    if !operate::names(&model).is_empty() {
        return Err(Error::Config {
            field: "adapters",
            value: operate::names(&model)
                .into_iter()
                .collect::<Vec<_>>()
                .join(", "),
            expected: "none but Burn's own",
        });
    }
    let mut found = Found(HashMap::new());
    walk::visit(&model, &mut found);
    let mut adapters = Pending::new();
    for (path, factors) in found.0 {
        let [Some(a), Some(b)] = factors else {
            continue;
        };
        let [_, rank] = a.lazy_shape().dims();
        if rank != config.rank {
            return Err(Error::Config {
                field: "rank",
                value: config.rank.to_string(),
                expected: "the rank of the model's adapters",
            });
        }
        let adapter = Adapter {
            a,
            b,
            magnitude: None,
            scale: config.scale(),
            dropout: burn::nn::DropoutConfig::new(config.dropout).init(),
        };
        adapters.insert(path, Box::new(adapter));
    }
    // Without an update Burn's composition gives the base back.
    let model = walk::map(model, &mut Silence).materialize();
    Ok(attach::attach(model, name, adapters))
}

/// The active adapters as Burn's own.
pub(super) fn to_burn<M: Module>(model: M) -> Result<M, Error> {
    let taken: Rc<RefCell<HashMap<String, Option<LoraAdapter>>>> = Rc::default();
    let inside = taken.clone();
    let model = walk::edit_adapters(model, move |path, adapters| {
        inside.borrow_mut().insert(path.into(), adapters.as_burn());
    });
    let adapters: HashMap<String, Option<LoraAdapter>> = taken.take();
    if let Some((path, _)) = adapters.iter().find(|(_, adapter)| adapter.is_none()) {
        return Err(Error::Config {
            field: "adapters",
            value: format!("those of `{path}`"),
            expected: "one active adapter of a 2-D weight, without DoRA and dropout, not merged",
        });
    }
    let model = operate::enable(model, false).materialize();
    let adapters = adapters.into_iter();
    let adapters = adapters.filter_map(|(path, adapter)| Some((path, adapter?)));
    Ok(attach::hang(model, adapters.collect()))
}

/// A and B of Burn's adapters, by the path of the module.
struct Found(HashMap<String, [Option<Param<Tensor<2>>>; 2]>);

impl Look for Found {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>) {
        let Some((path, factor)) = place.burn_adapter() else {
            return;
        };
        let param: Box<dyn std::any::Any> = Box::new(param.clone());
        let at = match factor {
            "a" => 0,
            _ => 1,
        };
        let factors = self.0.entry(path).or_default();
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
            Some((_, "b")) => crate::lora::replace(param, |value| value.zeros_like()),
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
