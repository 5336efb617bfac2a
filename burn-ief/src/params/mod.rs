//! A module's parameters: where they are, what is known of them without their values, the one visitor
//! over them, and vectors over them.
//!
//! [`ParamInfo`] describes one parameter, `visit` is the one visitor over a module, and `Direction`
//! is a vector over parameters (inside this crate).

mod direction;
mod rewrite;

use burn::module::{Flag, Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::tensor::{DType, Device, Shape, Tensor};

pub(crate) use direction::Direction;
pub(crate) use rewrite::rewrite;

/// f64 stays f64; everything else is computed in f32, because products of f16 rows overflow.
pub(crate) fn widened(dtype: DType) -> DType {
    if dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    }
}

/// Cast a tensor to [`widened`], if that changes anything.
pub(crate) fn widen<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let dtype = widened(x.dtype());
    if x.dtype() == dtype { x } else { x.cast(dtype) }
}

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

    /// Whether this is the place of a BatchNorm's training mode, and it is on.
    pub fn is_training_batch_norm(&self, flag: &Param<Flag>) -> bool {
        let container = self.containers.last();
        container.is_some_and(|name| name == "Struct:BatchNorm") && flag.is_enabled()
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

/// A parameter of a module: its id, path, shape, precision and device.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::Tape;
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::nn::ForwardRecorded;
///
/// let layer = LinearConfig::new(3, 2).init(&Device::flex().autodiff());
/// let tape = Tape::start();
/// let x = Tensor::<2>::ones([4, 3], &Device::flex().autodiff());
/// let grads = layer.forward_recorded(x).sum_dim(1).mean().backward();
/// let jacobian = Jacobian::from_tape(tape, grads, &layer)?;
///
/// let weight = &jacobian.params()[0];
/// assert_eq!((weight.path.as_str(), weight.shape.as_slice()), ("weight", &[3, 2][..]));
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ParamInfo {
    /// The parameter's id.
    pub id: ParamId,
    /// Its path in the module, field names joined by dots.
    pub path: String,
    /// Its shape.
    pub shape: Shape,
    /// The precision of its values.
    pub dtype: DType,
    /// The device of its values, without autodiff.
    pub device: Device,
    /// Burn's names of the containers around it, outermost first, such as `Struct:Linear`.
    pub(crate) containers: Vec<String>,
}

impl ParamInfo {
    pub(crate) fn new<const D: usize>(place: &Place<'_>, param: &Param<Tensor<D>>) -> Self {
        Self {
            containers: place.containers().to_vec(),
            ..Self::at(place.path(), param)
        }
    }

    /// At a path whose containers are not known.
    pub(crate) fn at<const D: usize>(path: String, param: &Param<Tensor<D>>) -> Self {
        let value = param.base();
        Self {
            id: param.id,
            path,
            shape: value.shape(),
            dtype: value.dtype(),
            device: value.device().inner(),
            containers: Vec::new(),
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.shape.num_elements()
    }

    /// Whether the parameter has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The precision of its update: f64 for parameters in f64, f32 for all others.
    pub(crate) fn update_dtype(&self) -> DType {
        widened(self.dtype)
    }

    /// Its path and shape, for error messages.
    pub(crate) fn describe(&self) -> String {
        format!("`{}` {:?}", self.path, self.shape.as_slice())
    }
}

/// The trainable parameters of a module, in its order, each of them once.
pub(crate) fn trainable<M: Module>(module: &M) -> Vec<ParamInfo> {
    matching(module, None)
}

/// The trainable parameters of a module that a group matches.
pub(crate) fn matching<M: Module>(module: &M, group: Option<&ParamGroup>) -> Vec<ParamInfo> {
    struct List<'a> {
        group: Option<&'a ParamGroup>,
        params: Vec<ParamInfo>,
    }
    impl ParamVisitor for List<'_> {
        fn float<const D: usize>(&mut self, place: &Place<'_>, param: &Param<Tensor<D>>) {
            if !param.is_require_grad() || self.params.iter().any(|known| known.id == param.id) {
                return;
            }
            let inside = |group: &ParamGroup| group.matches(&param.id, Some(&place.path()));
            if self.group.is_none_or(inside) {
                self.params.push(ParamInfo::new(place, param));
            }
        }
    }
    let mut list = List {
        group,
        params: Vec::new(),
    };
    visit(module, &mut list);
    list.params
}

/// The values of the trainable parameters of a module, flattened and off the autodiff graph.
pub(crate) fn values<M: Module>(module: &M) -> (Vec<ParamInfo>, Vec<Tensor<1>>) {
    #[derive(Default)]
    struct Values {
        params: Vec<ParamInfo>,
        values: Vec<Tensor<1>>,
    }
    impl ParamVisitor for Values {
        fn float<const D: usize>(&mut self, place: &Place<'_>, param: &Param<Tensor<D>>) {
            if !param.is_require_grad() || self.params.iter().any(|known| known.id == param.id) {
                return;
            }
            let info = ParamInfo::new(place, param);
            let value = param.val().inner().reshape([info.len()]);
            self.params.push(info);
            self.values.push(value);
        }
    }
    let mut all = Values::default();
    visit(module, &mut all);
    (all.params, all.values)
}

/// The first place where two lists of parameters differ in path or shape: what the first has, and
/// what the second has. The paths of one list may all begin with the same names: those of a module around the model.
pub(crate) fn find_mismatch(
    expected: &[ParamInfo],
    found: &[ParamInfo],
) -> Option<(String, String)> {
    let describe = |param: Option<&ParamInfo>| match param {
        Some(param) => param.describe(),
        None => "nothing more".into(),
    };
    let (outer, inner) = match (expected.first(), found.first()) {
        (Some(a), Some(b)) if expected.len() == found.len() => fronts(&a.path, &b.path),
        _ => ("", ""),
    };
    (0..expected.len().max(found.len())).find_map(|index| {
        let (expected, found) = (expected.get(index), found.get(index));
        let agree = match (expected, found) {
            (Some(a), Some(b)) => {
                let paths = (a.path.strip_prefix(outer), b.path.strip_prefix(inner));
                paths.0.is_some() && paths.0 == paths.1 && a.shape == b.shape
            }
            _ => false,
        };
        (!agree).then(|| (describe(expected), describe(found)))
    })
}

/// What each of two paths has in front of the other, if one is the end of the other.
fn fronts<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    let front = |long: &'a str, short: &str| {
        let front = long.strip_suffix(short);
        front.filter(|front| front.ends_with('.'))
    };
    match (front(a, b), front(b, a)) {
        (Some(front), _) => (front, ""),
        (_, Some(front)) => ("", front),
        _ => ("", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_around_the_model_puts_the_same_names_in_front() {
        let list = |paths: &[&str]| -> Vec<ParamInfo> {
            let value = || Param::from_tensor(Tensor::<1>::zeros([3], &Device::default()));
            let params = paths
                .iter()
                .map(|path| ParamInfo::at((*path).into(), &value()));
            params.collect()
        };
        let model = list(&["first.weight", "last.weight"]);
        for (paths, same) in [
            (&["first.weight", "last.weight"][..], true),
            (&["net.first.weight", "net.last.weight"], true),
            (&["a.net.first.weight", "a.net.last.weight"], true),
            (&["net.first.weight", "last.weight"], false),
            (&["afirst.weight", "alast.weight"], false),
            (&["net.first.weight", "net.last.weight", "net.more"], false),
            (&["weight", "last.weight"], false),
        ] {
            let other = list(paths);
            assert_eq!(find_mismatch(&model, &other).is_none(), same, "{paths:?}");
            assert_eq!(find_mismatch(&other, &model).is_none(), same, "{paths:?}");
        }
    }
}
