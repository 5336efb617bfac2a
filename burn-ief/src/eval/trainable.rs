//! The parameters that a Fisher matrix is about, and directions that are checked against them.

use burn::module::{Module, Param, ParamGroup};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};

use super::inner_product::{inner, square};
use crate::error::{Error, EvalError};
use crate::params::{Direction, ParamInfo, ParamVisitor, Place, visit, widen};

/// The trainable parameters of a module that a Fisher matrix is about.
#[derive(Default)]
pub(super) struct Trainable {
    /// Trainable parameters inside the group.
    pub params: Vec<ParamInfo>,
    /// Trainable parameters outside the group.
    others: Vec<ParamInfo>,
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
            found: Self::default(),
        };
        visit(module, &mut walk);
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
    /// [`EvalError::ForeignDirection`](crate::error::EvalError::ForeignDirection) if an entry belongs to no trainable parameter of the module or
    /// there are none, [`Error::RowShape`] if an entry has another shape than its parameter.
    pub fn check(&self, what: &'static str, v: &GradientsParams) -> Result<Checked, Error> {
        let direction = Direction::from_gradients(&self.params, v)?;
        let others = Direction::from_gradients(&self.others, v)?;
        let count = |params: &[ParamInfo], entries: &Direction| {
            let found = params.iter().map(|param| entries.get(param.id));
            found.flatten().count()
        };
        let matched = count(&self.params, &direction) + count(&self.others, &others);
        if matched != v.len() || matched == 0 {
            return Err(Error::Eval(EvalError::ForeignDirection {
                what,
                entries: v.len(),
                matched,
            }));
        }
        Ok(Checked(direction))
    }

    /// Squared lengths of a direction and of the parameters that it moves.
    ///
    /// # Errors
    ///
    /// [`EvalError::NonFiniteDirection`](crate::error::EvalError::NonFiniteDirection) naming the parameters with entries that are NaN or infinite.
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
    /// [`EvalError::NonFiniteDirection`](crate::error::EvalError::NonFiniteDirection) naming the parameters with entries that are NaN or infinite.
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
        Error::Eval(EvalError::NonFiniteDirection { what, parameters })
    }
}

struct Walk<'a> {
    group: Option<&'a ParamGroup>,
    found: Trainable,
}

impl ParamVisitor for Walk<'_> {
    fn float<const D: usize>(&mut self, place: &Place<'_>, param: &Param<Tensor<D>>) {
        let Trainable { params, others, .. } = &self.found;
        // A parameter that two layers share is visited twice.
        let known = params
            .iter()
            .chain(others)
            .any(|known| known.id == param.id);
        if known || !param.is_require_grad() {
            return;
        }
        let info = ParamInfo::new(place, param);
        let inside = |group: &ParamGroup| group.matches(&info.id, Some(&info.path));
        if !self.group.is_none_or(inside) {
            self.found.others.push(info);
            return;
        }
        self.found.epsilon = self.found.epsilon.max(epsilon(info.dtype));
        let value = widen(param.base().inner()).reshape([info.len()]);
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
