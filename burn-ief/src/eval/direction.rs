//! A direction checked against a module, and the module moved along it.

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamGroup};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Gradients, Tensor, TensorData};
use rayon::prelude::*;

use crate::error::Error;
#[cfg(feature = "flex")]
use crate::flex;
use crate::linalg::dot;
use crate::params::gradients;
use crate::params::{Direction, ParamInfo};

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
    gradients::map(module, &mut grads, |_, grad| Some(grad / factor));
    grads
}

/// The trainable parameters of a module that a Fisher matrix is about.
#[derive(Default)]
pub(super) struct Trainable {
    pub params: Vec<ParamInfo>,
    /// Trainable ones outside the group.
    others: Vec<ParamInfo>,
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
    /// [`Error::ForeignDirection`], [`Error::RowShape`].
    pub fn check(&self, what: &'static str, v: &GradientsParams) -> Result<Checked, Error> {
        let direction = Direction::from_gradients(&self.params, v)?;
        let others = Direction::from_gradients(&self.others, v)?;
        let has = |params: &[ParamInfo], entries: &Direction| {
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
        Ok(Checked(direction))
    }

    /// Squared lengths of a direction and of the parameters that it moves.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteDirection`] naming parameters.
    pub fn squares(&self, what: &'static str, v: &Checked) -> Result<[f64; 2], Error> {
        let own = self.params.iter().zip(&self.squares);
        let moved = own.filter(|(param, _)| v.0.get(param.id).is_some());
        let around = moved.map(|(_, square)| square).sum();
        let own = self.params.iter();
        let length: f64 = own.filter_map(|param| v.0.get(param.id)).map(square).sum();
        match length.is_finite() {
            true => Ok([length, around]),
            false => Err(self.not_finite(what, v)),
        }
    }

    /// Inner product of a direction and the gradient.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteDirection`] naming parameters.
    pub fn slope(&self, direction: &Checked, gradient: &Checked) -> Result<f64, Error> {
        let slope = self.product(direction, gradient);
        if slope.is_finite() {
            return Ok(slope);
        }
        self.squares("direction", direction)?;
        Err(self.not_finite("gradient", gradient))
    }

    fn product(&self, a: &Checked, b: &Checked) -> f64 {
        let shares = self.params.iter().filter_map(|param| {
            let (a, b) = (a.0.get(param.id)?, b.0.get(param.id)?);
            Some(inner(a, b))
        });
        shares.sum()
    }

    fn not_finite(&self, what: &'static str, v: &Checked) -> Error {
        let own = self.params.iter();
        let bad = own.filter(|param| {
            let entry = v.0.get(param.id);
            entry.is_some_and(|entry| !square(entry).is_finite())
        });
        Error::NonFiniteDirection {
            what,
            parameters: bad.map(|param| param.path.clone()).collect(),
        }
    }
}

/// A direction that fits its module.
pub(super) struct Checked(pub Direction);

/// Entries of which a thread takes the inner product.
const CHUNK: usize = 1 << 16;

/// Inner product, accumulated in f64 without a copy in f64: directions are as large as models.
fn inner(a: Tensor<1>, b: Tensor<1>) -> f64 {
    #[cfg(feature = "flex")]
    if let [Some(a), Some(b)] = [&a, &b].map(flex::primitive)
        && let [Some(a), Some(b)] = [&a, &b].map(|entries| entries.as_slice::<f32>())
    {
        return inner_f32(a, b);
    }
    host_inner(&a.into_data(), &b.into_data())
}

/// The inner product with itself.
fn square(a: Tensor<1>) -> f64 {
    #[cfg(feature = "flex")]
    if let Some(a) = flex::primitive(&a)
        && let Some(a) = a.as_slice::<f32>()
    {
        return inner_f32(a, a);
    }
    let a = a.into_data();
    host_inner(&a, &a)
}

fn host_inner(a: &TensorData, b: &TensorData) -> f64 {
    match (a.as_slice::<f32>(), b.as_slice::<f32>()) {
        (Ok(a), Ok(b)) => inner_f32(a, b),
        _ => {
            let [a, b] = [a, b].map(|data| data.iter::<f64>().collect::<Vec<_>>());
            dot(&a, &b)
        }
    }
}

fn inner_f32(a: &[f32], b: &[f32]) -> f64 {
    let chunks = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    // Added in their order: the sum does not depend on the threads.
    let sums: Vec<f64> = chunks.map(|(a, b)| dot_f32(a, b)).collect();
    sums.iter().sum()
}

fn dot_f32(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 16;
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f64 = rest.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    let mut lanes = [0.0; LANES];
    for (a, b) in a.zip(b) {
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f64::from(a) * f64::from(b);
        }
    }
    lanes.iter().sum::<f64>() + rest
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
        let info = ParamInfo::at(path, param);
        if !inside {
            self.found.others.push(info);
            return;
        }
        self.found.epsilon = self.found.epsilon.max(epsilon(value.dtype()));
        let value = match value.dtype() {
            DType::F64 => value,
            _ => value.cast(DType::F32),
        };
        let value = value.reshape([info.shape.num_elements()]);
        self.found.squares.push(square(value));
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

/// θ + step, or θ − step.
pub(super) fn moved<M: Module>(module: &M, step: &Direction, forth: bool) -> M {
    struct Move<'a> {
        step: &'a Direction,
        forth: bool,
    }
    impl ModuleMapper for Move<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(step) = self.step.get(param.id) else {
                return param;
            };
            let forth = self.forth;
            param.map(move |value| {
                let step = step.to_device(&value.device());
                let step = step.cast(value.dtype()).reshape(value.shape());
                match forth {
                    true => value + step,
                    false => value - step,
                }
            })
        }
    }
    module.clone().map(&mut Move { step, forth })
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
