//! Changes to the adapters of a whole model.
//!
//! A mapper of Burn's reaches the parameters inside a reparameterization, but not the
//! reparameterization itself, and [`Adapters`] is one. An edit therefore waits in a thread-local
//! variable while the model is mapped, and `Adapters::map` runs it on itself. Adapters have
//! different types (by method and rank), so an edit sees them as [`AnyAdapters`].

use std::any::Any;
use std::cell::RefCell;

use burn::nn::Linear;
use burn::tensor::Tensor;

use super::copies::CopyKind;
use super::merged::NotFinite;
use super::shared::Shared;

/// What one parameter carries: adapters and copies, of any method and rank.
pub(crate) trait AnyAdapters: Any {
    /// Add `adapter`, which must be of the method and rank of those that are here.
    fn insert(&mut self, name: &str, adapter: Box<dyn Any>);
    /// Add the adapter's own copy of the parameter, a `Param` of its rank.
    fn add_copy(&mut self, name: &str, copy: Box<dyn Any>, kind: CopyKind, method: &'static str);
    fn remove(&mut self, name: &str);
    fn set_active(&mut self, active: &[(&str, f64)]);
    fn set_enabled(&mut self, enabled: bool);
    /// The parameter that the module has to hold in place of `present`, both a `Param` of its rank;
    /// `None` where no adapter has a copy. See [`Copies::settle`](super::copies::Copies::settle).
    fn settle(&mut self, present: Box<dyn Any>, wake: bool) -> Option<Box<dyn Any>>;
    /// The number of adapters, copies left out.
    fn count(&self) -> usize;
    /// Names of the active adapters with their factors, whether they are switched on or not.
    fn active(&self) -> Vec<(String, f64)>;
    /// Names of the adapters that take part, or that were merged in: what is different from the
    /// base model.
    fn at_work(&self) -> Vec<String>;
    /// Name of the output head that shares this table.
    fn tied_to(&self) -> Option<&str>;
    /// The table is the output head of this name as well; `layer` is the head's own, if an adapter
    /// needs one and it is not there yet.
    fn tie(&mut self, name: &str, layer: Option<Linear>);
    /// Merge the active adapters into the layer's plain `weight`, of the weight's rank, and its
    /// bias, or take merged ones out; `None` where there is nothing to do, an error where the
    /// result would not be finite.
    fn fold(&mut self, layer: Folded, merge: bool) -> Result<Option<Folded>, NotFinite>;
    /// The tensors that the adapter of this name shares with those of other layers.
    fn shared(&self, name: &str) -> Shared;
    /// The adapters as their own type.
    fn as_any(&self) -> &dyn Any;
}

/// The plain values of a layer.
pub(crate) struct Folded {
    /// A tensor of the weight's rank.
    pub weight: Box<dyn Any>,
    pub bias: Option<Tensor<1>>,
}

type Edit = Box<dyn FnMut(&mut dyn AnyAdapters)>;

thread_local! {
    static EDIT: RefCell<Option<Edit>> = const { RefCell::new(None) };
}

/// While `run` maps a model, change the adapters that it meets.
pub(crate) fn with<T>(
    edit: impl FnMut(&mut dyn AnyAdapters) + 'static,
    run: impl FnOnce() -> T,
) -> T {
    /// Takes the edit away even if `run` panics.
    struct Guard(Option<Edit>);
    impl Drop for Guard {
        fn drop(&mut self) {
            EDIT.set(self.0.take());
        }
    }
    let _guard = Guard(EDIT.replace(Some(Box::new(edit))));
    run()
}

/// Run the waiting edit, if there is one.
pub(super) fn apply(adapters: &mut dyn AnyAdapters) {
    // The edit is taken out while it runs, because it may itself map a module.
    let Some(mut edit) = EDIT.take() else {
        return;
    };
    edit(adapters);
    EDIT.set(Some(edit));
}
