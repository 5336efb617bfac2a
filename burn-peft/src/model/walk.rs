//! Walks over a model's parameters with their paths.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor};

use crate::adapters::{ADAPTER, AnyAdapters, CopyKind, MERGED_ADAPTER, SLOT, STORED_HEAD, edit};

/// What Burn calls the container of a reparameterization's state, whatever its name: a field of
/// the user's may have the same name.
const REPARAMETERIZATION: &str = "Reparameterization";

/// A parameter as a visitor meets it.
pub(super) struct Place<'a> {
    /// Path of the parameter, the name of its field last.
    pub path: &'a [String],
    /// For each part of the path the container that holds it, such as `Struct:Linear`.
    containers: &'a [String],
}

/// Where a parameter of an adapter belongs.
pub(super) struct OfAdapter<'a> {
    /// Path of the adapted module.
    pub module: String,
    /// Name of the adapter.
    pub name: &'a str,
    /// Name of the parameter in the adapter.
    pub parameter: &'a str,
    /// The method, as `peft_type` names it.
    pub method: &'a str,
    /// Whether the adapter's module has its adapters merged into the weight.
    pub merged: bool,
}

/// Whose copy of a parameter is announced.
pub(super) struct OfCopy<'a> {
    /// Path of the parameter in the model.
    pub path: String,
    /// Name of the adapter.
    pub name: &'a str,
    /// The method, as `peft_type` names it.
    pub method: &'a str,
    pub kind: CopyKind,
}

impl Place<'_> {
    /// The module's path, joined by dots.
    pub fn module(&self) -> String {
        let (_, module) = self.path.split_last().unwrap_or((&EMPTY, &[]));
        module.join(".")
    }

    /// Name of the parameter in its module.
    pub fn leaf(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    /// Name of the struct that holds it, such as `Linear`.
    pub fn holder(&self) -> &str {
        let container = self.containers.last().map_or("", String::as_str);
        container
            .split_once(':')
            .map_or(container, |(_, name)| name)
    }

    /// The adapter that this belongs to, if it does.
    pub fn adapter(&self) -> Option<OfAdapter<'_>> {
        let (module, [name, parameter]) = self.behind(SLOT)? else {
            return None;
        };
        let [.., adapter, _] = self.containers else {
            return None;
        };
        let (container, method) = adapter.split_once(':')?;
        [ADAPTER, MERGED_ADAPTER]
            .contains(&container)
            .then_some(OfAdapter {
                module,
                name,
                parameter,
                method,
                merged: container == MERGED_ADAPTER,
            })
    }

    /// On entering a container: the adapter with a copy of the parameter, if it begins here.
    pub fn copy(&self) -> Option<OfCopy<'_>> {
        let [.., slot, container] = self.containers else {
            return None;
        };
        if slot.as_str() != REPARAMETERIZATION {
            return None;
        }
        let (kind, method) = CopyKind::of_container(container)?;
        let [path @ .., _, name] = self.path else {
            return None;
        };
        Some(OfCopy {
            path: path.join("."),
            name,
            method,
            kind,
        })
    }

    /// On entering a container: the name of what a parameter carries, if that begins here.
    pub fn reparameterization(&self) -> Option<&str> {
        let container = self.containers.last()?;
        (container == REPARAMETERIZATION).then(|| self.leaf())
    }

    /// The name of the output head whose own layer holds this.
    pub fn tied_head(&self) -> Option<&str> {
        let holder = self.containers.len().checked_sub(2)?;
        self.containers[holder].strip_prefix(STORED_HEAD)
    }

    /// Where the parts of the path begin that are behind the layer of a tied head: this layer is a
    /// module of the model, although it is carried by a table.
    fn behind_head(&self) -> usize {
        let head = |container: &String| container.starts_with(STORED_HEAD);
        let head = self.containers.iter().rposition(head);
        head.map_or(0, |at| at + 1)
    }

    /// Whether this is the state of a reparameterization, and not a parameter of the model.
    pub fn is_nested(&self) -> bool {
        self.containers[self.behind_head()..]
            .iter()
            .any(|container| container == REPARAMETERIZATION)
    }

    /// The module, and the path behind it in the reparameterization `slot` of its weight.
    pub fn behind(&self, slot: &str) -> Option<(String, &[String])> {
        let is_slot = |container: &String| container == REPARAMETERIZATION;
        let at = self.containers.iter().rposition(is_slot)?;
        if at < self.behind_head() {
            return None;
        }
        // […module, weight, slot, …]
        let module = self.path.get(..at.checked_sub(1)?)?;
        (self.path[at] == slot).then(|| (module.join("."), &self.path[at + 1..]))
    }
}

/// The path of a parameter of the module at `module`.
pub(super) fn joined(module: &str, leaf: &str) -> String {
    match module {
        "" => leaf.into(),
        module => format!("{module}.{leaf}"),
    }
}

static EMPTY: String = String::new();

/// What a visit does with each float parameter.
pub(super) trait Look {
    fn look<const D: usize>(&mut self, place: Place<'_>, param: &Param<Tensor<D>>);

    /// A parameter of the model that is not a float.
    fn look_other(&mut self, _place: Place<'_>) {}

    /// A container that is entered; the place ends with it.
    fn enter(&mut self, _place: Place<'_>) {}
}

/// Show every float parameter of the model to `look`.
pub(super) fn visit<M: Module, L: Look>(model: &M, look: &mut L) {
    model.visit(&mut Visitor {
        stack: Stack::default(),
        look,
    });
}

struct Visitor<'a, L> {
    stack: Stack,
    look: &'a mut L,
}

impl<L: Look> ModuleVisitor for Visitor<'_, L> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.stack.enter(name, container);
        self.look.enter(self.stack.place());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.look.look(self.stack.place(), param);
    }

    fn visit_int<const D: usize>(&mut self, _param: &Param<Tensor<D, Int>>) {
        self.look.look_other(self.stack.place());
    }

    fn visit_bool<const D: usize>(&mut self, _param: &Param<Tensor<D, Bool>>) {
        self.look.look_other(self.stack.place());
    }
}

/// What a map does with each float parameter.
pub(super) trait Change {
    fn change<const D: usize>(
        &mut self,
        place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>>;
}

/// Pass every float parameter of the model through `change`.
pub(super) fn map<M: Module, C: Change>(model: M, change: &mut C) -> M {
    model.map(&mut Mapper {
        stack: Stack::default(),
        change,
        whereabouts: None,
    })
}

/// Change what every parameter carries; `edit` gets the path of the parameter.
pub(super) fn edit_adapters<M: Module>(
    model: M,
    mut edit: impl FnMut(&str, &mut dyn AnyAdapters) + 'static,
) -> M {
    edit_with(model, &mut Keep, move |path, adapters| edit(path, adapters))
}

/// The same, while `change` sees every parameter, right before what it carries.
pub(super) fn edit_with<M: Module, C: Change>(
    model: M,
    change: &mut C,
    mut edit: impl FnMut(&str, &mut dyn AnyAdapters) + 'static,
) -> M {
    let whereabouts = Rc::new(RefCell::new(String::new()));
    let here = whereabouts.clone();
    edit::with(
        move |adapters| edit(&here.borrow(), adapters),
        || {
            model.map(&mut Mapper {
                stack: Stack::default(),
                change,
                whereabouts: Some(whereabouts),
            })
        },
    )
}

/// Leaves parameters as they are.
struct Keep;

impl Change for Keep {
    fn change<const D: usize>(
        &mut self,
        _place: Place<'_>,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        param
    }
}

struct Mapper<'a, C> {
    stack: Stack,
    change: &'a mut C,
    /// For an edit, the path of the parameter that carries the adapters.
    whereabouts: Option<Rc<RefCell<String>>>,
}

impl<C: Change> ModuleMapper for Mapper<'_, C> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.stack.enter(name, container);
        if container == REPARAMETERIZATION
            && let Some(whereabouts) = &self.whereabouts
        {
            let parameter = &self.stack.path[..self.stack.path.len().saturating_sub(1)];
            *whereabouts.borrow_mut() = parameter.join(".");
        }
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.stack.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.change.change(self.stack.place(), param)
    }
}

#[derive(Default)]
struct Stack {
    path: Vec<String>,
    containers: Vec<String>,
}

impl Stack {
    fn enter(&mut self, name: &str, container: &str) {
        self.path.push(name.into());
        self.containers.push(container.into());
    }

    fn exit(&mut self) {
        self.path.pop();
        self.containers.pop();
    }

    fn place(&self) -> Place<'_> {
        Place {
            path: &self.path,
            containers: &self.containers,
        }
    }
}
