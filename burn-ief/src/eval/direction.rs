//! A direction checked against a module, and the module moved along it.

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamGroup};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Gradients, Tensor};

use crate::error::Error;
use crate::jacobian::{Direction, JacobianParam, to_host};
use crate::linalg::dot;
use crate::optim::map_gradients;

/// The gradient of the summed loss, from the gradients of a scalar loss that is `factor` times
/// that sum.
///
/// `LossScale::Mean.factor(samples)` is the factor of a loss that is averaged over the batch.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::LossScale;
/// use burn_ief::eval::gradient;
///
/// let device = Device::flex().autodiff();
/// let model = LinearConfig::new(3, 1).init(&device);
/// let z = model.forward(Tensor::<2>::ones([4, 3], &device));
/// let gradient = gradient(z.mean().backward(), &model, LossScale::Mean.factor(4));
/// let weight = gradient.get::<2>(model.weight.id).unwrap();
/// assert!((weight.max().into_scalar::<f32>() - 4.0).abs() < 1e-6);
/// ```
pub fn gradient<M: Module>(grads: Gradients, module: &M, factor: f64) -> GradientsParams {
    let mut grads = GradientsParams::from_grads(grads, module);
    map_gradients(module, &mut grads, |_, grad| Some(grad / factor));
    grads
}

/// The trainable parameters of a module that a Fisher matrix is about.
#[derive(Default)]
pub(super) struct Trainable {
    pub params: Vec<JacobianParam>,
    /// Trainable ones outside the group.
    others: Vec<JacobianParam>,
    /// ‖θ‖² of each of `params`.
    squares: Vec<f64>,
    /// The coarsest precision among them.
    pub epsilon: f64,
}

impl Trainable {
    /// # Errors
    ///
    /// [`Error::NothingRecorded`] if there are none.
    pub fn of<M: Module>(module: &M, group: Option<&ParamGroup>) -> Result<Self, Error> {
        let mut walk = Walk {
            group,
            path: Vec::new(),
            found: Self::default(),
        };
        module.visit(&mut walk);
        match walk.found.params.is_empty() {
            true => Err(Error::NothingRecorded),
            false => Ok(walk.found),
        }
    }

    /// A direction's entries for these parameters.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignDirection`], [`Error::RowShape`], [`Error::NonFiniteDirection`].
    pub fn check(&self, what: &'static str, v: &GradientsParams) -> Result<Checked, Error> {
        let direction = Direction::from_gradients(&self.params, v)?;
        let others = Direction::from_gradients(&self.others, v)?;
        let has = |params: &[JacobianParam], entries: &Direction| {
            let own = params.iter();
            own.filter(|param| entries.get(param.id).is_some()).count()
        };
        let matched = has(&self.params, &direction) + has(&self.others, &others);
        if matched != v.len() || matched == 0 {
            return Err(Error::ForeignDirection {
                what,
                entries: v.len(),
                matched,
            });
        }
        let (mut length, mut around, mut bad) = (0.0, 0.0, Vec::new());
        for (param, square) in self.params.iter().zip(&self.squares) {
            let Some(entry) = direction.get(param.id) else {
                continue;
            };
            let values = to_host(entry);
            if values.iter().any(|x| !x.is_finite()) {
                bad.push(param.path.clone());
            }
            length += dot(&values, &values);
            around += square;
        }
        match bad.is_empty() {
            true => Ok(Checked {
                direction,
                length: length.sqrt(),
                around: around.sqrt(),
            }),
            false => Err(Error::NonFiniteDirection {
                what,
                parameters: bad,
            }),
        }
    }

    /// Inner product of two checked directions.
    pub fn dot(&self, a: &Checked, b: &Checked) -> f64 {
        let shares = self.params.iter().filter_map(|param| {
            let (a, b) = (a.direction.get(param.id)?, b.direction.get(param.id)?);
            Some(dot(&to_host(a), &to_host(b)))
        });
        shares.sum()
    }
}

/// A direction that fits its module.
pub(super) struct Checked {
    pub direction: Direction,
    /// ‖Δ‖.
    pub length: f64,
    /// ‖θ‖ of the parameters it moves.
    pub around: f64,
}

struct Walk<'a> {
    group: Option<&'a ParamGroup>,
    path: Vec<String>,
    found: Trainable,
}

impl ModuleVisitor for Walk<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let value = param.base().inner();
        let path = self.path.join(".");
        let inside = |group: &ParamGroup| group.matches(&param.id, Some(&path));
        let inside = self.group.is_none_or(inside);
        let info = JacobianParam {
            id: param.id,
            path,
            shape: value.shape(),
        };
        if !inside {
            self.found.others.push(info);
            return;
        }
        self.found.epsilon = self.found.epsilon.max(epsilon(value.dtype()));
        let value = match value.dtype() {
            DType::F64 => value,
            _ => value.cast(DType::F32),
        };
        self.found.squares.push(to_host(value.square().sum())[0]);
        self.found.params.push(info);
    }
}

/// Distance of 1 to the next number.
pub(super) fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    }
}

/// θ + hΔ.
pub(super) fn moved<M: Module>(module: &M, direction: &Direction, h: f64) -> M {
    struct Move<'a> {
        direction: &'a Direction,
        h: f64,
    }
    impl ModuleMapper for Move<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(entry) = self.direction.get(param.id) else {
                return param;
            };
            let h = self.h;
            param.map(move |value| {
                // A small step underflows in half precision.
                let entry = match entry.dtype() {
                    DType::F64 => entry,
                    _ => entry.cast(DType::F32),
                };
                let step = entry.to_device(&value.device()) * h;
                let step = step.cast(value.dtype()).reshape(value.shape());
                value + step
            })
        }
    }
    module.clone().map(&mut Move { direction, h })
}

/// A module that computes as in evaluation but still has gradients.
pub(super) fn evaluating<M: Module>(module: &M) -> M {
    struct Disable;
    impl ModuleMapper for Disable {
        fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
            flag.with_value(false)
        }
    }
    module.clone().map(&mut Disable)
}
