//! The one visitor over a module's parameters, which knows where it is.

use burn::module::{Flag, Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// Where a parameter is in its module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    names: &'a [String],
    containers: &'a [String],
}

impl Place<'_> {
    /// Path of the parameter, field names joined by dots.
    pub fn path(&self) -> String {
        self.names.join(".")
    }

    /// Path of the struct that holds it.
    pub fn parent(&self) -> String {
        let parents = self.names.split_last().map_or(&[][..], |(_, rest)| rest);
        parents.join(".")
    }

    /// Burn's names of the containers around it, outermost first, such as `Struct:Linear`.
    pub fn containers(&self) -> &[String] {
        self.containers
    }
}

/// What [`visit`] calls for every parameter.
pub(crate) trait ParamVisitor {
    /// A float parameter, trainable or not.
    fn float<const D: usize>(&mut self, place: &Place<'_>, param: &Param<Tensor<D>>);

    /// A flag, such as the training mode of a BatchNorm.
    fn flag(&mut self, _place: &Place<'_>, _flag: &Param<Flag>) {}
}

/// Call `visitor` for every parameter of a module, in the module's order.
///
/// A parameter that two layers share is visited twice.
pub(crate) fn visit<M: Module>(module: &M, visitor: &mut impl ParamVisitor) {
    module.visit(&mut Walk {
        names: Vec::new(),
        containers: Vec::new(),
        visitor,
    });
}

struct Walk<'a, V> {
    names: Vec<String>,
    containers: Vec<String>,
    visitor: &'a mut V,
}

impl<V: ParamVisitor> ModuleVisitor for Walk<'_, V> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.names.push(name.to_string());
        self.containers.push(container_type.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.names.pop();
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let place = Place {
            names: &self.names,
            containers: &self.containers,
        };
        self.visitor.float(&place, param);
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        let place = Place {
            names: &self.names,
            containers: &self.containers,
        };
        self.visitor.flag(&place, flag);
    }
}
