//! Changes to the adapters of a whole model.
//!
//! Burn's mappers reach the parameters inside a reparameterization, not the reparameterization
//! itself. An edit waits in a thread-local while the model is mapped, and [`Adapters`] picks it up
//! from its own `map`.

use std::cell::RefCell;

use super::adapters::{Adapters, AnyAdapters};

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

pub(super) fn apply<const D: usize>(adapters: Adapters<D>) -> Adapters<D> {
    // Taken out while it runs: an edit that maps a module must not meet itself.
    let Some(mut edit) = EDIT.take() else {
        return adapters;
    };
    let mut adapters = adapters;
    edit(&mut adapters);
    EDIT.set(Some(edit));
    adapters
}
