//! The parameters of a model with their names in a `transformers` checkpoint.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Shape, Tensor};
use burn_peft::NameMap;

/// One float parameter of a model.
pub(super) struct Parameter {
    /// Path in the Burn module, without enum variants.
    pub path: String,
    /// Names in a checkpoint, the usual one first.
    pub names: Vec<String>,
    /// Float type that the values take.
    pub dtype: DType,
    shape: Shape,
    transposed: bool,
}

impl Parameter {
    /// The usual name in a checkpoint.
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Shape in the layout of a checkpoint.
    pub fn file_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.to_vec();
        if self.transposed {
            shape.reverse();
        }
        shape
    }
}

/// All float parameters of a model.
pub(super) fn parameters<M: Module>(model: &M, names: &NameMap) -> Vec<Parameter> {
    let mut visitor = Visitor {
        names,
        path: Vec::new(),
        containers: Vec::new(),
        parameters: Vec::new(),
    };
    model.visit(&mut visitor);
    visitor.parameters
}

struct Visitor<'a> {
    names: &'a NameMap,
    path: Vec<String>,
    containers: Vec<String>,
    parameters: Vec<Parameter>,
}

impl Visitor<'_> {
    fn layer(&self) -> &str {
        let containers = self.containers.iter().rev();
        let mut layers = containers.filter(|c| c.starts_with("Struct:"));
        layers.next().map_or("", String::as_str)
    }
}

impl ModuleVisitor for Visitor<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.containers.push(container.into());
        if !container.starts_with("Enum:") {
            self.path.push(name.into());
        }
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.containers.pop();
        if !container.starts_with("Enum:") {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some((leaf, module)) = self.path.split_last() else {
            return;
        };
        let module = self.names.name(&module.join("."));
        let name = |leaf: &str| match module.as_str() {
            "" => leaf.to_string(),
            module => format!("{module}.{leaf}"),
        };
        let layer = self.layer();
        let is_norm = layer.ends_with("Norm");
        let leaves: &[&str] = match leaf.as_str() {
            "gamma" if is_norm => &["weight", "gamma"],
            "beta" if is_norm => &["bias", "beta"],
            leaf => &[leaf],
        };
        let default = || param.lazy_device().settings().float_dtype.into();
        let own = param.is_initialized().then(|| param.base().dtype());
        // A packed parameter is replaced by a dense one.
        let dtype = own.filter(DType::is_float).unwrap_or_else(default);
        self.parameters.push(Parameter {
            path: self.path.join("."),
            names: leaves.iter().map(|leaf| name(leaf)).collect(),
            dtype,
            shape: param.lazy_shape(),
            transposed: layer == "Struct:Linear" && leaf == "weight" && D == 2,
        });
    }
}

/// Finds the float parameters that hold NaN or infinity, by their paths in the Burn module.
#[derive(Default)]
pub(super) struct NotFinite {
    pub paths: Vec<String>,
    path: Vec<String>,
}

impl ModuleVisitor for NotFinite {
    fn enter_module(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.push(name.into());
        }
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // What is not initialised was not loaded.
        if param.is_initialized() && !param.val().is_finite().all().into_scalar::<bool>() {
            self.paths.push(self.path.join("."));
        }
    }
}
