//! Parameters of the model that adapters replace.
//!
//! A head in `modules_to_save`, a bias, and the rest of a weight that PiSSA took a part out of
//! belong to one adapter. Each adapter keeps its own copy, and the base model's parameter is kept
//! next to them. The module itself holds the one that is in use, so that every forward pass, every
//! recording and every optimizer works as if there were no adapters.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Tensor};

use super::parameter::{at, at_least_f32, like, plain};

/// How an adapter's copy of a parameter is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyKind {
    /// It trains with its adapter: a head, a bias.
    Trained,
    /// It stays as it is: what is left of a weight, or a table of the base model that the folder
    /// holds. Several of these can act together, because each is a change of the base.
    Fixed,
}

/// Containers that these parameters have in a walk over a module. `burn-ief` knows by the word in
/// front that they take no part in the parameter that carries them.
pub(crate) const STORED_BASE: &str = "Stored:Base";
const STORED_TRAINED: &str = "Stored:Trained:";
const STORED_FIXED: &str = "Stored:Fixed:";

/// Names of the parameters in the slot of the adapters: `….weight.peft.base` and
/// `….weight.peft.NAME.own`.
const BASE: &str = "base";
const OWN: &str = "own";

impl CopyKind {
    /// The kind and the method of the adapter from the container of its copy.
    pub fn of_container(container: &str) -> Option<(Self, &str)> {
        let trained = container.strip_prefix(STORED_TRAINED);
        let fixed = container.strip_prefix(STORED_FIXED);
        trained
            .map(|method| (Self::Trained, method))
            .or(fixed.map(|method| (Self::Fixed, method)))
    }

    fn container(self, method: &str) -> String {
        match self {
            Self::Trained => format!("{STORED_TRAINED}{method}"),
            Self::Fixed => format!("{STORED_FIXED}{method}"),
        }
    }
}

/// The copies that adapters have of one parameter of the model.
#[derive(Debug, Clone)]
pub(super) struct Copies<const D: usize> {
    /// The base model's parameter, while the module holds another one.
    base: Option<Param<Tensor<D>>>,
    entries: Vec<Copy<D>>,
    in_module: InModule,
}

#[derive(Debug, Clone)]
struct Copy<const D: usize> {
    name: String,
    method: &'static str,
    kind: CopyKind,
    /// The adapter's factor; `None` is inactive.
    factor: Option<f64>,
    /// `None` while the module holds it.
    param: Option<Param<Tensor<D>>>,
}

/// Whose parameter the module holds.
#[derive(Debug, Clone, PartialEq)]
enum InModule {
    Base,
    Adapter(String),
    /// Of several adapters together, or of one that has been removed: it is dropped.
    Nobody,
}

impl<const D: usize> Default for Copies<D> {
    fn default() -> Self {
        Self {
            base: None,
            entries: Vec::new(),
            in_module: InModule::Base,
        }
    }
}

impl<const D: usize> Copies<D> {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.in_module == InModule::Base
    }

    /// Whether the module holds the base model's parameter.
    pub fn shows_base(&self) -> bool {
        self.in_module == InModule::Base
    }

    /// The base model's parameter, where the module holds `present`.
    pub fn base(&self, present: &Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.base.as_ref().unwrap_or(present).clone()
    }

    /// The active adapters with a copy, and their factors.
    pub fn active(&self) -> impl Iterator<Item = (String, f64)> {
        let entries = self.entries.iter();
        entries.filter_map(|copy| Some((copy.name.clone(), copy.factor?)))
    }

    /// Add the copy of an adapter that has none.
    pub fn add(
        &mut self,
        name: &str,
        param: Param<Tensor<D>>,
        kind: CopyKind,
        method: &'static str,
    ) {
        self.entries.push(Copy {
            name: name.into(),
            method,
            kind,
            factor: None,
            param: Some(param.set_require_grad(false)),
        });
    }

    /// Forget the copy of an adapter; [`settle`](Self::settle) has to follow.
    pub fn remove(&mut self, name: &str) {
        if self.in_module == InModule::Adapter(name.into()) {
            self.in_module = InModule::Nobody;
        }
        self.entries.retain(|copy| copy.name != name);
    }

    /// Make these adapters the active ones; [`settle`](Self::settle) has to follow.
    pub fn set_active(&mut self, active: &[(&str, f64)]) {
        for copy in &mut self.entries {
            let mut active = active.iter();
            copy.factor = active
                .find(|(name, _)| *name == copy.name)
                .map(|(_, factor)| *factor);
        }
    }

    /// The parameter that the module has to hold instead of `present`: that of the active adapter,
    /// or the base's. An active copy that trains requires a gradient if it comes into the module
    /// now, or if `wake` is set.
    pub fn settle(
        &mut self,
        present: Param<Tensor<D>>,
        enabled: bool,
        wake: bool,
    ) -> Param<Tensor<D>> {
        let entries = self.entries.iter().enumerate();
        let active = entries.filter(|(_, copy)| enabled && copy.factor.is_some());
        let active: Vec<usize> = active.map(|(at, _)| at).collect();
        // The check in `with_active_adapters` leaves one active copy that trains at most.
        let trained = active
            .iter()
            .find(|at| self.entries[**at].kind == CopyKind::Trained);
        let one = match (trained, active.as_slice()) {
            (Some(trained), _) => Some(*trained),
            (None, [only]) if self.entries[*only].factor == Some(1.0) => Some(*only),
            _ => None,
        };
        match one {
            Some(at) => {
                let name = self.entries[at].name.clone();
                let trains = self.entries[at].kind == CopyKind::Trained;
                if self.in_module == InModule::Adapter(name.clone()) {
                    return if wake {
                        present.set_require_grad(trains)
                    } else {
                        present
                    };
                }
                self.put_back(present);
                self.in_module = InModule::Adapter(name);
                match self.entries[at].param.take() {
                    Some(param) => param.set_require_grad(trains),
                    None => unreachable!("a copy is stored unless the module holds it"),
                }
            }
            None if active.is_empty() => {
                if self.in_module == InModule::Base {
                    return present;
                }
                self.put_back(present);
                self.in_module = InModule::Base;
                match self.base.take() {
                    Some(base) => base,
                    None => unreachable!("the base is stored unless the module holds it"),
                }
            }
            None => {
                self.put_back(present);
                self.in_module = InModule::Nobody;
                self.together(&active)
            }
        }
    }

    /// Keep what the module held.
    fn put_back(&mut self, present: Param<Tensor<D>>) {
        match &self.in_module {
            InModule::Base => self.base = Some(present),
            InModule::Adapter(name) => {
                let copy = self.entries.iter_mut().find(|copy| copy.name == *name);
                if let Some(copy) = copy {
                    copy.param = Some(present.set_require_grad(false));
                }
            }
            InModule::Nobody => {}
        }
    }

    /// The base with the change that each of these copies is, times its adapter's factor.
    fn together(&self, active: &[usize]) -> Param<Tensor<D>> {
        let Some(base) = &self.base else {
            unreachable!("the base was put back");
        };
        let value = plain(base);
        let own = value.dtype();
        let dtype = match own {
            own if own.is_float() => at_least_f32(own),
            _ => DType::F32,
        };
        let value = at(value, dtype);
        let sum = active.iter().fold(value.clone(), |sum, at_entry| {
            let copy = &self.entries[*at_entry];
            let (Some(param), Some(factor)) = (&copy.param, copy.factor) else {
                return sum;
            };
            sum + (at(plain(param), dtype) - value.clone()) * factor
        });
        let sum = if own.is_float() { at(sum, own) } else { sum };
        copy_of(base, Some(sum))
    }

    /// All stored parameters through `change`.
    pub fn each(self, change: impl Fn(Param<Tensor<D>>) -> Param<Tensor<D>>) -> Self {
        let entries = self.entries.into_iter().map(|copy| Copy {
            param: copy.param.map(&change),
            ..copy
        });
        Self {
            base: self.base.map(&change),
            entries: entries.collect(),
            in_module: self.in_module,
        }
    }

    /// All stored parameters.
    pub fn stored(&self) -> impl Iterator<Item = &Param<Tensor<D>>> {
        let entries = self.entries.iter();
        self.base
            .iter()
            .chain(entries.filter_map(|copy| copy.param.as_ref()))
    }

    pub fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        if let Some(base) = &self.base {
            visitor.enter_module(BASE, STORED_BASE);
            base.visit(visitor);
            visitor.exit_module(BASE, STORED_BASE);
        }
        for copy in &self.entries {
            // A copy that the module holds is announced without a parameter.
            let container = copy.kind.container(copy.method);
            visitor.enter_module(&copy.name, &container);
            if let Some(param) = &copy.param {
                visitor.enter_module(OWN, &container);
                param.visit(visitor);
                visitor.exit_module(OWN, &container);
            }
            visitor.exit_module(&copy.name, &container);
        }
    }

    pub fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let base = self.base.map(|base| {
            mapper.enter_module(BASE, STORED_BASE);
            let base = Module::map(base, mapper);
            mapper.exit_module(BASE, STORED_BASE);
            base
        });
        let entries = self.entries.into_iter().map(|copy| {
            let container = copy.kind.container(copy.method);
            mapper.enter_module(&copy.name, &container);
            let param = copy.param.map(|param| {
                mapper.enter_module(OWN, &container);
                let param = Module::map(param, mapper);
                mapper.exit_module(OWN, &container);
                param
            });
            mapper.exit_module(&copy.name, &container);
            Copy { param, ..copy }
        });
        Self {
            base,
            entries: entries.collect(),
            in_module: self.in_module,
        }
    }
}

/// A new parameter like this one, with its layout and training state, and with a plain `value` if
/// there is one.
pub(crate) fn copy_of<const D: usize>(
    param: &Param<Tensor<D>>,
    value: Option<Tensor<D>>,
) -> Param<Tensor<D>> {
    let (_, present, mapper) = param.clone().consume();
    // A leaf of its own, whatever the value is.
    let value = like(value.unwrap_or_else(|| plain(param)), &present);
    Param::from_mapped_value(ParamId::new(), value, mapper).set_require_grad(false)
}
