//! The parameters that a Fisher matrix is about, and directions that are checked against them.

use burn::module::{Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

use super::inner_product::{inner, square};
use crate::error::Error;
use crate::jacobian::{Direction, JacobianParam};

/// The trainable parameters of a module that a Fisher matrix is about.
#[derive(Default)]
pub(super) struct Trainable {
    /// Trainable parameters inside the group.
    pub params: Vec<JacobianParam>,
    /// Trainable parameters outside the group.
    others: Vec<JacobianParam>,
    /// ‖θ‖² of each of `params`.
    squares: Vec<f64>,
    /// The rounding unit of the coarsest precision among `params`.
    pub epsilon: f64,
}

/// A direction whose entries all belong to trainable parameters of the module, with the same shapes.
pub(super) struct Checked(pub Direction);

/// Squared lengths of a direction and of the parameters that it moves; both are finite.
pub(super) struct SquaredLengths {
    pub direction: f64,
    pub parameters: f64,
}

impl Trainable {
    /// # Errors
    ///
    /// [`Error::NothingTrainable`] if no parameter of the group is trainable.
    pub fn of<M: Module>(module: &M, group: Option<&ParamGroup>) -> Result<Self, Error> {
        let mut walk = Walk {
            group,
            path: Vec::new(),
            found: Self::default(),
        };
        module.visit(&mut walk);
        if walk.found.params.is_empty() {
            Err(Error::NothingTrainable)
        } else {
            Ok(walk.found)
        }
    }

    /// The entries of a direction for the parameters of the group.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignDirection`] if an entry belongs to no trainable parameter of the module or
    /// there are none, [`Error::RowShape`] if an entry has another shape than its parameter.
    pub fn check(&self, what: &'static str, v: &GradientsParams) -> Result<Checked, Error> {
        let direction = Direction::from_gradients(&self.params, v)?;
        let others = Direction::from_gradients(&self.others, v)?;
        let count = |params: &[JacobianParam], entries: &Direction| {
            let found = params.iter().map(|param| entries.get(param.id));
            found.flatten().count()
        };
        let matched = count(&self.params, &direction) + count(&self.others, &others);
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
    /// [`Error::NonFiniteDirection`] naming the parameters with entries that are NaN or infinite.
    pub fn squared_lengths(
        &self,
        what: &'static str,
        v: &Checked,
    ) -> Result<SquaredLengths, Error> {
        let mut lengths = SquaredLengths {
            direction: 0.0,
            parameters: 0.0,
        };
        for (param, parameter) in self.params.iter().zip(&self.squares) {
            if let Some(entry) = v.0.get(param.id) {
                lengths.direction += square(entry);
                lengths.parameters += parameter;
            }
        }
        if lengths.direction.is_finite() {
            Ok(lengths)
        } else {
            Err(self.not_finite(what, v))
        }
    }

    /// Inner product of a direction and the gradient.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteDirection`] naming the parameters with entries that are NaN or infinite.
    pub fn slope(&self, direction: &Checked, gradient: &Checked) -> Result<f64, Error> {
        let mut slope = 0.0;
        for param in &self.params {
            if let (Some(a), Some(b)) = (direction.0.get(param.id), gradient.0.get(param.id)) {
                slope += inner(a, b);
            }
        }
        if slope.is_finite() {
            return Ok(slope);
        }
        self.squared_lengths("direction", direction)?;
        Err(self.not_finite("gradient", gradient))
    }

    fn not_finite(&self, what: &'static str, v: &Checked) -> Error {
        let mut parameters = Vec::new();
        for param in &self.params {
            let entry = v.0.get(param.id);
            if entry.is_some_and(|entry| !square(entry).is_finite()) {
                parameters.push(param.path.clone());
            }
        }
        Error::NonFiniteDirection { what, parameters }
    }
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
        let value = value.reshape([info.shape.num_elements()]);
        self.found.squares.push(square(value));
        self.found.params.push(info);
    }
}

/// The rounding unit of a precision: the distance of 1 to the next number.
pub(super) fn epsilon(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON,
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => f64::from(f32::EPSILON),
    }
}
