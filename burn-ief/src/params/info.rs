//! What is known of a parameter without its values.

use burn::module::{Module, Param, ParamGroup, ParamId};
use burn::tensor::{DType, Device, Shape, Tensor};

use super::precision::widened;
use super::visit::{ParamVisitor, Place, visit};

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

/// The first place where two lists of parameters differ in path or shape: what the first has, and
/// what the second has.
pub(crate) fn find_mismatch(
    expected: &[ParamInfo],
    found: &[ParamInfo],
) -> Option<(String, String)> {
    let describe = |param: Option<&ParamInfo>| match param {
        Some(param) => param.describe(),
        None => "nothing more".into(),
    };
    (0..expected.len().max(found.len())).find_map(|index| {
        let (expected, found) = (expected.get(index), found.get(index));
        let agree = match (expected, found) {
            (Some(a), Some(b)) => a.path == b.path && a.shape == b.shape,
            _ => false,
        };
        (!agree).then(|| (describe(expected), describe(found)))
    })
}
