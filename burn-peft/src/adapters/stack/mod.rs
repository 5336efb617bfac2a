//! The adapters that a weight carries, as Burn's reparameterization of it.

mod edits;
mod module;

use burn::module::{Module, Param, Reparameterization, Reparameterizer};
use burn::nn::Linear;
use burn::tensor::Tensor;

use super::copies::{Copies, CopyKind, copy_of};
use super::layer_adapter::LayerAdapter;
use super::merged::{Change, Merged, NotFinite};
use super::parameter::{bare, like, replace};
use super::tied::TiedHead;

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
    /// The adapters' own copies of the weight.
    copies: Copies<D>,
    /// The output head, if this is a table that it shares.
    tied: Option<TiedHead>,
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
        Self::empty().with(name, adapter)
    }

    /// No adapters yet.
    pub(crate) fn empty() -> Self {
        Self {
            entries: Vec::new(),
            enabled: true,
            merged: None,
            copies: Copies::default(),
            tied: None,
        }
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

    /// Without the adapter of that name. What else belongs to it in a model is removed by
    /// [`Peft::without_adapter`](crate::Peft::without_adapter).
    pub fn without(mut self, name: &str) -> Self {
        self.entries.retain(|entry| entry.name != name);
        self.copies.remove(name);
        self
    }

    /// Make these the active adapters, each with a factor on its update. As in PEFT the active
    /// ones train and the others are frozen. Of a name that is there twice the first factor counts.
    pub fn with_active(self, active: &[(&str, f64)]) -> Self {
        let factor = |name: &str| Some(active.iter().find(|(active, _)| *active == name)?.1);
        let entries = self.entries.into_iter().map(|entry| {
            let factor = factor(&entry.name);
            Entry {
                factor,
                adapter: entry.adapter.set_trains(factor.is_some()),
                name: entry.name,
            }
        });
        let entries = entries.collect();
        let mut copies = self.copies;
        copies.set_active(active);
        Self {
            entries,
            copies,
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
    pub fn attach(mut self, weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let mut present = bare(&weight);
        if self.copies.is_empty()
            && let Some(replaced) = Self::of(&weight)
        {
            present = replaced.clone().copies.settle(present, false, false);
        }
        let present = self.copies.settle(present, self.enabled, false);
        present.apply_reparameterization(Attach(Some(self)))
    }

    /// Add an adapter to those of a weight, with the value that the weight has under it if that is
    /// not the base's.
    pub(crate) fn added(
        name: &str,
        adapter: A,
        rest: Option<Tensor<D>>,
        weight: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let mut adapters = Self::of(&weight).cloned().unwrap_or_else(Self::empty);
        let present = bare(&weight);
        adapters = adapters.without(name).with_enabled(true);
        let present = adapters.copies.settle(present, false, false);
        if let Some(rest) = rest {
            let copy = copy_of(&present, Some(rest));
            adapters
                .copies
                .add(name, copy, CopyKind::Fixed, A::PEFT_TYPE);
        }
        adapters.with(name, adapter).attach(present)
    }

    /// A weight frozen, with its adapters, merged ones taken out and the base's value in place. The
    /// adapters are off until one is [`added`](Self::added). (`Param`'s own `set_require_grad` drops
    /// a reparameterization.)
    pub(crate) fn frozen(weight: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(mut adapters) = Self::of(&weight).cloned() else {
            return weight.set_require_grad(false);
        };
        let merged = adapters.merged.take();
        let present = replace(bare(&weight), |value| match merged {
            Some(merged) => merged.weight.undo(value),
            None => value,
        });
        let base = adapters.copies.settle(present, false, false);
        let base = base.set_require_grad(false);
        base.apply_reparameterization(Attach(Some(adapters)))
    }

    /// The base model's weight, where the module holds `present`.
    pub(crate) fn base(&self, present: &Param<Tensor<D>>) -> Param<Tensor<D>> {
        let base = self.copies.base(present);
        match &self.merged {
            Some(merged) => {
                let value = like(merged.weight.base.clone(), &base.base());
                copy_of(&base, None).map(|_| value)
            }
            None => base,
        }
    }

    /// The output head's own layer, if this is a table that it shares and an adapter changes it.
    pub(crate) fn head(&self) -> Option<&Linear> {
        self.tied.as_ref()?.layer.as_ref()
    }

    /// Merge the active adapters into the plain weight and bias of their layer, and give back the
    /// new weight, and the new bias if it changes. The weight is formed in the adapters' type and
    /// rounded once; a packed weight becomes dense. An error where a result is not finite.
    pub(crate) fn merge(
        self,
        weight: Tensor<D>,
        bias: Option<Tensor<1>>,
    ) -> Result<MergedLayer<Self, D>, NotFinite> {
        let inactive = self.valid();
        let parts = inactive.parts();
        if parts.is_empty() {
            return Ok((self, weight, None));
        }
        let merged = A::compose_all(&parts, weight.clone());
        let weight = Change::new(weight, merged)?;
        let changes = parts.iter().any(|(adapter, _)| adapter.changes_bias());
        let bias = bias.filter(|_| changes).map(|bias| {
            let parts = parts.iter();
            let merged = parts.fold(bias.clone(), |bias, (adapter, factor)| {
                adapter.compose_bias(bias, *factor)
            });
            Change::new(bias, merged)
        });
        let bias = bias.transpose()?;
        let values = (
            weight.merged.clone(),
            bias.as_ref().map(|bias| bias.merged.clone()),
        );
        let merged = Some(Merged { weight, bias });
        Ok((Self { merged, ..self }, values.0, values.1))
    }
}

/// A stack, and the weight and bias of its layer.
type MergedLayer<S, const D: usize> = (S, Tensor<D>, Option<Tensor<1>>);

/// The slot that adapters of every method have in a path: `weight.peft.NAME.PARAMETER`.
pub(crate) const SLOT: &str = "peft";

/// Containers that adapters have in a walk over a module.
pub(crate) const ADAPTER: &str = "Adapter";
pub(crate) const MERGED_ADAPTER: &str = "MergedAdapter";

impl<A: LayerAdapter<D>, const D: usize> Reparameterization for Adapters<A, D> {
    const NAME: &'static str = SLOT;

    fn apply<const E: usize>(&self, base: Tensor<E>) -> Tensor<E> {
        let parts = self.parts();
        if parts.is_empty() {
            return base;
        }
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
