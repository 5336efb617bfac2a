//! The adapters that a weight carries, as Burn's reparameterization of it.

use std::any::Any;

use burn::module::{
    Devices, LoraAdapter, Module, ModuleMapper, ModuleVisitor, Param, Reparameterization,
    Reparameterizer,
};
use burn::tensor::{Device, Tensor};

use super::adapter::{Adapter, at};
use super::edit;
use super::replace::replace;

/// Named adapters on one weight of rank `D`.
///
/// Several active ones add up: each contributes what it would change alone, times its factor.
///
/// They hang on the weight through Burn's reparameterization hook: the model's types, configs and
/// records stay as they are, and Burn's own `forward` of the layer still works (it composes the
/// dense weight). [`LinearAdapted`](crate::LinearAdapted) and its kin go along the activations.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_peft::{Adapters, LoraConfig};
///
/// let device = Device::flex().autodiff();
/// let mut layer = LinearConfig::new(16, 32).init(&device);
/// let config = LoraConfig::new();
/// let (first, second) = (config.adapter(&layer.weight)?, config.adapter(&layer.weight)?);
/// let adapters = Adapters::new("first", first).with("second", second);
/// layer.weight = adapters.attach(layer.weight);
///
/// let adapters = Adapters::of(&layer.weight).unwrap();
/// assert_eq!(adapters.names().collect::<Vec<_>>(), ["first", "second"]);
/// // The adapter that came last is the active one.
/// assert_eq!(adapters.active().map(|(name, _)| name).collect::<Vec<_>>(), ["second"]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Adapters<const D: usize> {
    entries: Vec<Entry<D>>,
    enabled: bool,
    /// Set while the active adapters are folded into the weight.
    merged: Option<Merged<D>>,
}

#[derive(Debug, Clone)]
struct Entry<const D: usize> {
    name: String,
    /// What the adapter's update is multiplied with; `None` is inactive.
    factor: Option<f64>,
    adapter: Adapter<D>,
}

/// What is needed to take merged adapters out again. A difference would lose the weight where
/// DoRA's ratios are small.
#[derive(Debug, Clone)]
struct Merged<const D: usize> {
    /// The weight without them.
    base: Tensor<D>,
    /// The weight with them: the same memory as the parameter's value, unless that has changed.
    sum: Tensor<D>,
}

impl<const D: usize> Merged<D> {
    /// On another device.
    fn moved(&self, device: &Device) -> Self {
        // Plain tensors stay plain, whatever the device's autodiff.
        let device = device.clone().inner();
        let moved = |tensor: &Tensor<D>| tensor.clone().to_device(&device);
        Self {
            base: moved(&self.base),
            sum: moved(&self.sum),
        }
    }
}

impl<const D: usize> Adapters<D> {
    /// One adapter, active.
    pub fn new(name: &str, adapter: Adapter<D>) -> Self {
        Self {
            entries: Vec::new(),
            enabled: true,
            merged: None,
        }
        .with(name, adapter)
    }

    /// Add an adapter, or replace the one of that name; it becomes the only active one, and the
    /// others are frozen.
    pub fn with(mut self, name: &str, adapter: Adapter<D>) -> Self {
        self.entries.retain(|entry| entry.name != name);
        self.entries.push(Entry {
            name: name.into(),
            factor: None,
            adapter,
        });
        self.with_active(&[(name, 1.0)])
    }

    /// Without the adapter of that name.
    pub fn without(mut self, name: &str) -> Self {
        self.entries.retain(|entry| entry.name != name);
        self
    }

    /// Make these the active adapters, each with a factor on its update. As in PEFT the active
    /// ones train and the others are frozen.
    pub fn with_active(self, active: &[(&str, f64)]) -> Self {
        let factor = |name: &str| Some(active.iter().find(|(active, _)| *active == name)?.1);
        let entries = self.entries.into_iter().map(|entry| {
            let factor = factor(&entry.name);
            Entry {
                factor,
                adapter: entry.adapter.set_require_grad(factor.is_some()),
                name: entry.name,
            }
        });
        Self {
            entries: entries.collect(),
            ..self
        }
    }

    /// Switch all adapters on or off; off, the weight is its base.
    pub fn with_enabled(self, enabled: bool) -> Self {
        Self { enabled, ..self }
    }

    /// Names, in the order they came.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The adapter of that name.
    pub fn get(&self, name: &str) -> Option<&Adapter<D>> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some(&entry.adapter)
    }

    /// The adapters that take part, with the factor on their update.
    pub fn active(&self) -> impl Iterator<Item = (&str, f64)> {
        self.taking_part()
            .map(|(entry, factor)| (entry.name.as_str(), factor))
    }

    /// The adapters that take part.
    pub(crate) fn parts(&self) -> Vec<(&Adapter<D>, f64)> {
        self.taking_part()
            .map(|(entry, factor)| (&entry.adapter, factor))
            .collect()
    }

    fn taking_part(&self) -> impl Iterator<Item = (&Entry<D>, f64)> {
        let on = self.enabled && self.merged.is_none();
        self.entries
            .iter()
            .filter(move |_| on)
            .filter_map(|entry| Some((entry, entry.factor?)))
    }

    /// Whether the active adapters are folded into the weight.
    pub fn is_merged(&self) -> bool {
        self.merged.is_some()
    }

    /// The adapters on a weight.
    pub fn of(weight: &Param<Tensor<D>>) -> Option<&Self> {
        weight.reparameterization()
    }

    /// Hang the adapters on a weight, in place of those that it carries.
    pub fn attach(self, weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
        bare(&weight).apply_reparameterization(Attach(Some(self)))
    }

    /// Fold the active adapters into a plain `weight`.
    pub(crate) fn merge(self, weight: Tensor<D>) -> (Self, Tensor<D>) {
        let plain = self.valid();
        let parts = plain.parts();
        if parts.is_empty() {
            return (self, weight);
        }
        // In the factors' type, rounded once; a packed weight becomes dense.
        let sum = composed(&parts, weight.clone());
        let own = match weight.dtype() {
            own if own.is_float() => own,
            _ => sum.dtype(),
        };
        let (base, sum) = (at(weight, own), at(sum, own));
        let merged = Some(Merged {
            base,
            sum: sum.clone(),
        });
        (Self { merged, ..self }, sum)
    }

    /// Take merged adapters out of a plain `weight` again: what it was, and what has been added to
    /// it since.
    pub(crate) fn unmerge(mut self, weight: Tensor<D>) -> (Self, Tensor<D>) {
        let Some(Merged { base, sum }) = self.merged.take() else {
            return (self, weight);
        };
        // Where the sum was too large for its type, the difference of it and itself is none.
        let same = weight.clone().equal(sum.clone());
        (self, base + (weight - sum).mask_fill(same, 0.0))
    }

    fn each(self, f: impl Fn(Adapter<D>) -> Adapter<D>) -> Self {
        let entries = self.entries.into_iter();
        Self {
            entries: entries
                .map(|entry| Entry {
                    adapter: f(entry.adapter),
                    ..entry
                })
                .collect(),
            ..self
        }
    }
}

/// A weight without its adapters, under the same id and training state.
pub(crate) fn bare<const D: usize>(weight: &Param<Tensor<D>>) -> Param<Tensor<D>> {
    let (id, value, mapper) = weight.clone().consume();
    Param::from_mapped_value(id, value, mapper)
}

/// A weight frozen, with its adapters, merged ones taken out. (`Param`'s own `set_require_grad`
/// drops a reparameterization.)
pub(crate) fn frozen<const D: usize>(weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
    let Some(adapters) = Adapters::of(&weight).cloned() else {
        return weight.set_require_grad(false);
    };
    let mut adapters = adapters;
    let base = replace(bare(&weight), |value| {
        let (unmerged, value) = adapters.clone().unmerge(value);
        adapters = unmerged;
        value
    });
    adapters.attach(base.set_require_grad(false))
}

impl<const D: usize> Reparameterization for Adapters<D> {
    const NAME: &'static str = "peft";

    fn apply<const E: usize>(&self, base: Tensor<E>) -> Tensor<E> {
        // The hook is generic over the rank; these adapters were attached at `D`.
        let shape = base.shape();
        let base: Tensor<D> = base.reshape(shape.clone());
        composed(&self.parts(), base).reshape(shape)
    }
}

/// The weight that these adapters make of `base`, in the factors' type.
fn composed<const D: usize>(parts: &[(&Adapter<D>, f64)], base: Tensor<D>) -> Tensor<D> {
    match parts {
        [] => base,
        [(adapter, factor)] => adapter.compose(base, *factor),
        parts => parts.iter().fold(base.clone(), |sum, (adapter, factor)| {
            let own = adapter.compose(base.clone(), *factor);
            let change = own.clone() - at(base.clone(), own.dtype());
            at(sum, change.dtype()) + change
        }),
    }
}

/// Adapters of a weight of any rank, as an edit of a whole model meets them.
pub(crate) trait AnyAdapters: Any {
    /// Add `adapter`, an `Adapter` of the weight's rank, or give it back.
    fn insert(&mut self, name: &str, adapter: Box<dyn Any>) -> Result<(), Box<dyn Any>>;
    fn remove(&mut self, name: &str);
    fn set_active(&mut self, active: &[(&str, f64)]);
    fn set_enabled(&mut self, enabled: bool);
    /// The one active adapter as Burn's own, if it can be one.
    fn as_burn(&self) -> Option<LoraAdapter>;
    /// Fold the active adapters into `weight`, a plain tensor of the weight's rank, or take them
    /// out; `None` where there is nothing to do.
    fn fold(&mut self, weight: Box<dyn Any>, merge: bool) -> Option<Box<dyn Any>>;
}

impl<const D: usize> AnyAdapters for Adapters<D> {
    fn insert(&mut self, name: &str, adapter: Box<dyn Any>) -> Result<(), Box<dyn Any>> {
        let adapter = adapter.downcast::<Adapter<D>>()?;
        *self = self.clone().with(name, *adapter);
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        *self = self.clone().without(name);
    }

    fn set_active(&mut self, active: &[(&str, f64)]) {
        *self = self.clone().with_active(active);
    }

    fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    fn as_burn(&self) -> Option<LoraAdapter> {
        let parts = self.parts();
        let [(adapter, factor)] = parts.as_slice() else {
            return None;
        };
        if adapter.magnitude.is_some() || adapter.dropout.prob > 0.0 {
            return None;
        }
        let adapter: &dyn Any = *adapter;
        let Adapter { a, b, scale, .. } = adapter.downcast_ref::<Adapter<2>>()?.clone();
        let scale = scale * factor;
        Some(LoraAdapter { a, b, scale })
    }

    fn fold(&mut self, weight: Box<dyn Any>, merge: bool) -> Option<Box<dyn Any>> {
        let empty = self.parts().is_empty();
        if (merge && empty) || (!merge && self.merged.is_none()) {
            return None;
        }
        let weight = *weight.downcast::<Tensor<D>>().ok()?;
        let (adapters, weight) = match merge {
            true => self.clone().merge(weight),
            false => self.clone().unmerge(weight),
        };
        *self = adapters;
        Some(Box::new(weight))
    }
}

// By hand, so that the path of a factor holds the adapter's name, and so that an edit reaches the
// adapters of a whole model through `map`.
impl<const D: usize> Module for Adapters<D> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.entries.iter().fold(devices, |devices, entry| {
            entry.adapter.collect_devices(devices)
        })
    }

    fn fork(self, device: &Device) -> Self {
        let merged = self.merged.as_ref().map(|merged| merged.moved(device));
        let forked = self.each(|adapter| adapter.fork(device));
        Self { merged, ..forked }
    }

    fn to_device(self, device: &Device) -> Self {
        let merged = self.merged.as_ref().map(|merged| merged.moved(device));
        let moved = self.each(|adapter| adapter.to_device(device));
        Self { merged, ..moved }
    }

    fn train(self) -> Self {
        self.each(Module::train)
    }

    fn valid(&self) -> Self {
        self.clone().each(|adapter| adapter.valid())
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for entry in &self.entries {
            visitor.enter_module(&entry.name, "Struct:Adapters");
            entry.adapter.visit(visitor);
            visitor.exit_module(&entry.name, "Struct:Adapters");
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let mut adapters = edit::apply(self);
        adapters.entries = adapters
            .entries
            .into_iter()
            .map(|entry| {
                mapper.enter_module(&entry.name, "Struct:Adapters");
                let adapter = entry.adapter.map(mapper);
                mapper.exit_module(&entry.name, "Struct:Adapters");
                Entry { adapter, ..entry }
            })
            .collect();
        adapters
    }
}

/// Attaches adapters to the first parameter that it meets.
struct Attach<const D: usize>(Option<Adapters<D>>);

impl<const D: usize> Reparameterizer for Attach<D> {
    type Reparam = Adapters<D>;

    fn reparameterize<const E: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<E>>,
    ) -> (Param<Tensor<E>>, Option<Adapters<D>>) {
        (param, self.0.take())
    }
}
