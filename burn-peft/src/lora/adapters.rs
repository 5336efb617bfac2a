//! The adapters that a weight carries, as Burn's reparameterization of it.

use burn::module::{
    Devices, Module, ModuleMapper, ModuleVisitor, Param, Reparameterization, Reparameterizer,
};
use burn::tensor::{Device, Tensor};

use super::adapter::Adapter;
use super::edit;

/// Named adapters on one weight of rank `D`.
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
    merged: Option<Merged>,
}

#[derive(Debug, Clone)]
struct Entry<const D: usize> {
    name: String,
    /// What the adapter's update is multiplied with; `None` is inactive.
    factor: Option<f64>,
    adapter: Adapter<D>,
}

/// What is needed to take merged adapters out again: for each, its factor and norms.
#[derive(Debug, Clone)]
struct Merged(Vec<(String, f64, Option<Tensor<1>>)>);

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

    /// Add an adapter, or replace the one of that name; it becomes the only active one.
    pub fn with(mut self, name: &str, adapter: Adapter<D>) -> Self {
        for entry in &mut self.entries {
            entry.factor = None;
        }
        self.entries.retain(|entry| entry.name != name);
        self.entries.push(Entry {
            name: name.into(),
            factor: Some(1.0),
            adapter,
        });
        self
    }

    /// Without the adapter of that name; `None` if it was the last.
    pub fn without(mut self, name: &str) -> Option<Self> {
        self.entries.retain(|entry| entry.name != name);
        (!self.entries.is_empty()).then_some(self)
    }

    /// Make these the active adapters, each with a factor on its update.
    pub fn with_active(mut self, active: &[(&str, f64)]) -> Self {
        for entry in &mut self.entries {
            entry.factor = active
                .iter()
                .find(|(name, _)| *name == entry.name)
                .map(|(_, factor)| *factor);
        }
        self
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
        if self.merged.is_some() {
            return (self, weight);
        }
        let dtype = weight.dtype();
        let mut merged = Vec::new();
        let mut sum = weight;
        for (entry, factor) in self.taking_part() {
            let norms = entry.adapter.norms(sum.clone(), factor);
            merged.push((entry.name.clone(), factor, norms));
            sum = entry.adapter.clone().valid().compose(sum, factor);
        }
        // Added in the wider type, rounded once.
        let sum = super::adapter::at(sum, dtype);
        let merged = Some(Merged(merged));
        (Self { merged, ..self }, sum)
    }

    /// Take merged adapters out of a plain `weight` again.
    pub(crate) fn unmerge(mut self, weight: Tensor<D>) -> (Self, Tensor<D>) {
        let Some(Merged(merged)) = self.merged.take() else {
            return (self, weight);
        };
        let dtype = weight.dtype();
        let base =
            merged
                .into_iter()
                .rev()
                .fold(weight, |weight, (name, factor, norms)| {
                    match self.get(&name) {
                        Some(adapter) => adapter.decompose(weight, factor, norms),
                        None => weight,
                    }
                });
        (self, super::adapter::at(base, dtype))
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

impl<const D: usize> Reparameterization for Adapters<D> {
    const NAME: &'static str = "peft";

    fn apply<const E: usize>(&self, base: Tensor<E>) -> Tensor<E> {
        let parts = self.parts();
        if parts.is_empty() {
            return base;
        }
        let shape = base.shape();
        let weight = parts
            .into_iter()
            .fold(base.reshape(shape.clone()), |weight, (adapter, factor)| {
                adapter.compose(weight, factor)
            });
        weight.reshape(shape)
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
        self.each(|adapter| adapter.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.each(|adapter| adapter.to_device(device))
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
