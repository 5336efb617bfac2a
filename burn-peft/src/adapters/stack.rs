//! The adapters that a weight carries, as Burn's reparameterization of it.

use std::any::Any;

use burn::module::{
    Devices, Module, ModuleMapper, ModuleVisitor, Param, Reparameterization, Reparameterizer,
};
use burn::tensor::{Device, Tensor};

use super::edit::{self, AnyAdapters, Folded};
use super::layer_adapter::LayerAdapter;
use super::merged::{Change, Merged};
use super::parameter::{bare, replace};

/// Named adapters of one method on one weight of rank `D`.
///
/// [`LoraAdapters`](crate::LoraAdapters) and [`Ia3Adapters`](crate::Ia3Adapters) are the two that
/// there are. Several active adapters act together: those of LoRA add up, each with its factor on
/// its update; those of IA³ multiply.
///
/// They are attached to the weight through Burn's reparameterization hook: the model's types,
/// configs and records stay as they are. Burn's own `forward` of the layer still works for LoRA (it
/// composes the dense weight); [`ForwardAdapted`](crate::ForwardAdapted) computes along the
/// activations.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::Device;
/// use burn_peft::{LoraAdapters, LoraConfig};
///
/// let device = Device::flex().autodiff();
/// let mut layer = LinearConfig::new(16, 32).init(&device);
/// let config = LoraConfig::new();
/// let (first, second) = (config.adapter(&layer.weight)?, config.adapter(&layer.weight)?);
/// let adapters = LoraAdapters::new("first", first).with("second", second);
/// layer.weight = adapters.attach(layer.weight);
///
/// let adapters = LoraAdapters::of(&layer.weight).unwrap();
/// assert_eq!(adapters.names().collect::<Vec<_>>(), ["first", "second"]);
/// // The adapter that came last is the active one.
/// assert_eq!(adapters.active().map(|(name, _)| name).collect::<Vec<_>>(), ["second"]);
/// # Ok::<(), burn_peft::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Adapters<A, const D: usize> {
    entries: Vec<Entry<A>>,
    enabled: bool,
    /// Set while the active adapters are merged into the weight.
    merged: Option<Merged<D>>,
}

#[derive(Debug, Clone)]
struct Entry<A> {
    name: String,
    /// What the adapter's update is multiplied with; `None` is inactive.
    factor: Option<f64>,
    adapter: A,
}

impl<A: LayerAdapter<D>, const D: usize> Adapters<A, D> {
    /// One adapter, active.
    pub fn new(name: &str, adapter: A) -> Self {
        Self {
            entries: Vec::new(),
            enabled: true,
            merged: None,
        }
        .with(name, adapter)
    }

    /// Add an adapter, or replace the one of that name; it becomes the only active one, and the
    /// others are frozen.
    pub fn with(mut self, name: &str, adapter: A) -> Self {
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
    pub fn get(&self, name: &str) -> Option<&A> {
        let entry = self.entries.iter().find(|entry| entry.name == name)?;
        Some(&entry.adapter)
    }

    /// The adapters that take part, with the factor on their update.
    pub fn active(&self) -> impl Iterator<Item = (&str, f64)> {
        self.taking_part()
            .map(|(entry, factor)| (entry.name.as_str(), factor))
    }

    /// The adapters that take part.
    pub(crate) fn parts(&self) -> Vec<(&A, f64)> {
        self.taking_part()
            .map(|(entry, factor)| (&entry.adapter, factor))
            .collect()
    }

    fn taking_part(&self) -> impl Iterator<Item = (&Entry<A>, f64)> {
        let on = self.enabled && self.merged.is_none();
        self.entries
            .iter()
            .filter(move |_| on)
            .filter_map(|entry| Some((entry, entry.factor?)))
    }

    /// Whether the active adapters are merged into the weight.
    pub fn is_merged(&self) -> bool {
        self.merged.is_some()
    }

    /// The adapters on a weight.
    pub fn of(weight: &Param<Tensor<D>>) -> Option<&Self> {
        weight.reparameterization()
    }

    /// Put the adapters on a weight, in place of those that it carries.
    pub fn attach(self, weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
        bare(&weight).apply_reparameterization(Attach(Some(self)))
    }

    /// Add an adapter to those of a weight.
    pub(crate) fn added(name: &str, adapter: A, weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let adapters = match Self::of(&weight) {
            Some(present) => present.clone().with(name, adapter),
            None => Self::new(name, adapter),
        };
        adapters.attach(weight)
    }

    /// A weight frozen, with its adapters, merged ones taken out. (`Param`'s own `set_require_grad`
    /// drops a reparameterization.)
    pub(crate) fn frozen(weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(mut adapters) = Self::of(&weight).cloned() else {
            return weight.set_require_grad(false);
        };
        let merged = adapters.merged.take();
        let base = replace(bare(&weight), |value| match merged {
            Some(merged) => merged.weight.undo(value),
            None => value,
        });
        adapters.attach(base.set_require_grad(false))
    }

    /// Merge the active adapters into the plain weight and bias of their layer, and give back the
    /// new weight, and the new bias if it changes. The weight is formed in the adapters' type and
    /// rounded once; a packed weight becomes dense.
    pub(crate) fn merge(
        self,
        weight: Tensor<D>,
        bias: Option<Tensor<1>>,
    ) -> (Self, Tensor<D>, Option<Tensor<1>>) {
        let inactive = self.valid();
        let parts = inactive.parts();
        if parts.is_empty() {
            return (self, weight, None);
        }
        let merged = A::compose_all(&parts, weight.clone());
        let weight = Change::new(weight, merged);
        let changes = parts.iter().any(|(adapter, _)| adapter.changes_bias());
        let bias = bias.filter(|_| changes).map(|bias| {
            let parts = parts.iter();
            let merged = parts.fold(bias.clone(), |bias, (adapter, factor)| {
                adapter.compose_bias(bias, *factor)
            });
            Change::new(bias, merged)
        });
        let values = (
            weight.merged.clone(),
            bias.as_ref().map(|bias| bias.merged.clone()),
        );
        let merged = Some(Merged { weight, bias });
        (Self { merged, ..self }, values.0, values.1)
    }

    /// Take merged adapters out of the plain weight and bias of their layer.
    fn unmerge(
        mut self,
        weight: Tensor<D>,
        bias: Option<Tensor<1>>,
    ) -> (Self, Tensor<D>, Option<Tensor<1>>) {
        let Some(merged) = self.merged.take() else {
            return (self, weight, None);
        };
        let weight = merged.weight.undo(weight);
        let bias = bias
            .zip(merged.bias)
            .map(|(bias, merged)| merged.undo(bias));
        (self, weight, bias)
    }

    /// What a walk over the module sees around the parameters of each adapter.
    fn container(&self) -> String {
        let container = if self.merged.is_some() {
            MERGED_ADAPTER
        } else {
            ADAPTER
        };
        format!("{container}:{}", A::PEFT_TYPE)
    }

    fn each(self, f: impl Fn(A) -> A) -> Self {
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

/// The slot that adapters of every method have in a path: `weight.peft.NAME.PARAMETER`.
pub(crate) const SLOT: &str = "peft";

/// Containers that adapters have in a walk over a module.
pub(crate) const ADAPTER: &str = "Adapter";
pub(crate) const MERGED_ADAPTER: &str = "MergedAdapter";

impl<A: LayerAdapter<D>, const D: usize> Reparameterization for Adapters<A, D> {
    const NAME: &'static str = SLOT;

    fn apply<const E: usize>(&self, base: Tensor<E>) -> Tensor<E> {
        let parts = self.parts();
        if parts.iter().any(|(adapter, _)| adapter.changes_bias()) {
            panic!(
                "an adapter of {} on this layer scales its bias as well, which the layer's own \
                 `forward` cannot do: call `forward_adapted`, or `merge_and_unload` first",
                A::PEFT_TYPE
            );
        }
        // The hook is generic over the rank; these adapters were attached at `D`.
        let shape = base.shape();
        let base: Tensor<D> = base.reshape(shape.clone());
        A::compose_all(&parts, base).reshape(shape)
    }
}

impl<A: LayerAdapter<D>, const D: usize> AnyAdapters for Adapters<A, D> {
    fn insert(&mut self, name: &str, adapter: Box<dyn Any>) {
        match adapter.downcast::<A>() {
            Ok(adapter) => *self = self.clone().with(name, *adapter),
            Err(_) => unreachable!("adapters of a weight are of one method and rank"),
        }
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

    fn fold(&mut self, layer: Folded, merge: bool) -> Option<Folded> {
        let nothing = if merge {
            self.parts().is_empty()
        } else {
            self.merged.is_none()
        };
        if nothing {
            return None;
        }
        let weight = *layer.weight.downcast::<Tensor<D>>().ok()?;
        let (adapters, weight, bias) = if merge {
            self.clone().merge(weight, layer.bias)
        } else {
            self.clone().unmerge(weight, layer.bias)
        };
        *self = adapters;
        Some(Folded {
            weight: Box::new(weight),
            bias,
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

// Not derived, so that the path of a parameter holds the adapter's name, so that a walk sees the
// method and whether adapters are merged, and so that `map` runs an edit of a whole model.
impl<A: LayerAdapter<D>, const D: usize> Module for Adapters<A, D> {
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
        let container = self.container();
        for entry in &self.entries {
            visitor.enter_module(&entry.name, &container);
            entry.adapter.visit(visitor);
            visitor.exit_module(&entry.name, &container);
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let mut adapters = self;
        edit::apply(&mut adapters);
        let container = adapters.container();
        adapters.entries = adapters
            .entries
            .into_iter()
            .map(|entry| {
                mapper.enter_module(&entry.name, &container);
                let adapter = entry.adapter.map(mapper);
                mapper.exit_module(&entry.name, &container);
                Entry { adapter, ..entry }
            })
            .collect();
        adapters
    }
}

/// Attaches adapters to the first parameter that it meets.
struct Attach<A, const D: usize>(Option<Adapters<A, D>>);

impl<A: LayerAdapter<D>, const D: usize> Reparameterizer for Attach<A, D> {
    type Reparam = Adapters<A, D>;

    fn reparameterize<const E: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<E>>,
    ) -> (Param<Tensor<E>>, Option<Adapters<A, D>>) {
        (param, self.0.take())
    }
}
