//! Which parameters of a module have Kronecker factors.

use std::collections::HashSet;

use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Shape, Tensor};

use super::method::Settings;
use crate::jacobian::{Direction, JacobianParam};
use crate::rows::Side;

/// The covered parameters of a module in its order, a weight and its bias together.
///
/// It follows from the module alone, so that the state can be made before the first batch and
/// found in a record; what a recording shows must fit it.
pub(super) struct Layout {
    pub slots: Vec<Slot>,
}

/// A weight with its bias, or a single parameter.
pub(super) struct Slot {
    pub weight: JacobianParam,
    pub bias: Option<JacobianParam>,
    pub form: Form,
    pub device: Device,
    pub dtype: DType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Sizes of the factors, the constant input included, and the side of the weight's
    /// (flattened) axes that belongs to the inputs.
    Kronecker {
        inputs: usize,
        outputs: usize,
        input_side: Side,
    },
    Diagonal,
    /// The plain gradient.
    Plain,
}

impl Layout {
    pub fn new<M: Module>(module: &M, settings: &Settings) -> Self {
        let mut walk = Walk {
            group: settings.group.as_ref(),
            path: Vec::new(),
            containers: Vec::new(),
            slots: Vec::new(),
        };
        module.visit(&mut walk);
        let mut slots = walk.slots;
        for slot in &mut slots {
            slot.settle(settings);
        }
        Self { slots }
    }

    /// Ids of all covered parameters.
    pub fn ids(&self) -> HashSet<ParamId> {
        let params = self.slots.iter().flat_map(Slot::params);
        params.map(|param| param.id).collect()
    }
}

impl Slot {
    pub fn params(&self) -> impl Iterator<Item = &JacobianParam> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    /// Entries of the weight and of the bias.
    pub fn columns(&self) -> usize {
        self.params().map(|p| p.shape.num_elements()).sum()
    }

    /// Count the bias in, and give up factors that are wider than allowed.
    fn settle(&mut self, settings: &Settings) {
        if let Form::Kronecker {
            inputs, outputs, ..
        } = &mut self.form
        {
            *inputs += usize::from(self.bias.is_some());
            if (*inputs).max(*outputs) > settings.max_dimension {
                self.form = Form::Diagonal;
            }
        }
        if self.form == Form::Diagonal && settings.others == super::Others::Gradient {
            self.form = Form::Plain;
        }
    }

    /// The gradient as a matrix `[i (+ 1), o]`; `None` if the weight has none.
    pub fn matrix(&self, gradients: &Direction) -> Option<Tensor<2>> {
        let Form::Kronecker {
            outputs,
            input_side,
            ..
        } = self.form
        else {
            return None;
        };
        let weight = gradients.get(self.weight.id)?;
        let inputs = self.weight.shape.num_elements() / outputs.max(1);
        let weight = match input_side {
            Side::Left => weight.reshape([inputs, outputs]),
            Side::Right => weight.reshape([outputs, inputs]).transpose(),
        };
        let Some(bias) = &self.bias else {
            return Some(weight);
        };
        let place = (weight.device(), weight.dtype());
        let bias = match gradients.get(bias.id) {
            Some(bias) => bias.reshape([1, outputs]),
            None => Tensor::zeros([1, outputs], (&place.0, place.1)),
        };
        Some(Tensor::cat(vec![weight, bias], 0))
    }

    /// The inverse of [`matrix`](Self::matrix): flattened entries of the weight and the bias.
    pub fn entries(&self, matrix: Tensor<2>) -> Vec<(ParamId, Tensor<1>)> {
        let [rows, outputs] = matrix.dims();
        let inputs = self.weight.shape.num_elements() / outputs.max(1);
        let weight = matrix.clone().narrow(0, 0, inputs);
        let weight = match self.form {
            Form::Kronecker {
                input_side: Side::Right,
                ..
            } => weight.transpose(),
            _ => weight,
        };
        let mut entries = vec![(self.weight.id, weight.reshape([inputs * outputs]))];
        if let Some(bias) = &self.bias {
            let bias_row = matrix.narrow(0, rows - 1, 1);
            entries.push((bias.id, bias_row.reshape([outputs])));
        }
        entries
    }

    /// The parameters' entries one after another; `None` if the weight has none.
    pub fn vector(&self, gradients: &Direction) -> Option<Tensor<1>> {
        let weight = gradients.get(self.weight.id)?;
        let Some(bias) = &self.bias else {
            return Some(weight);
        };
        let bias = gradients
            .get(bias.id)
            .unwrap_or_else(|| weight.zeros_like().narrow(0, 0, bias.shape.num_elements()));
        Some(Tensor::cat(vec![weight, bias], 0))
    }

    /// The inverse of [`vector`](Self::vector).
    pub fn split(&self, vector: Tensor<1>) -> Vec<(ParamId, Tensor<1>)> {
        let mut start = 0;
        self.params()
            .map(|param| {
                let width = param.shape.num_elements();
                let entry = vector.clone().narrow(0, start, width);
                start += width;
                (param.id, entry)
            })
            .collect()
    }
}

/// All gradients of the covered parameters, flattened.
pub(super) fn directions(
    layout: &Layout,
    grads: &GradientsParams,
) -> Result<Direction, crate::Error> {
    let params: Vec<JacobianParam> = layout
        .slots
        .iter()
        .flat_map(Slot::params)
        .cloned()
        .collect();
    Direction::from_gradients(&params, grads)
}

struct Walk<'a> {
    group: Option<&'a ParamGroup>,
    path: Vec<String>,
    containers: Vec<String>,
    slots: Vec<Slot>,
}

impl Walk<'_> {
    /// The form that the container of a parameter of this shape stands for.
    fn form(&self, name: &str, shape: &Shape) -> Form {
        let within = |container: &str| self.containers.iter().any(|c| c == container);
        let container = self.containers.last().map_or("", String::as_str);
        let dims = shape.as_slice();
        let side = match (container, name, dims) {
            ("Struct:Linear", "weight", [_, _]) => Side::Left,
            ("Struct:Conv1d" | "Struct:Conv2d", "weight", [_, _, ..]) => Side::Right,
            // The factors of an adapter; those of an embedding's are look-ups.
            (_, _, [_, _])
                if within("Reparameterization")
                    && !within("Struct:Embedding")
                    && !within("Struct:Conv1d")
                    && !within("Struct:Conv2d") =>
            {
                Side::Left
            }
            _ => return Form::Diagonal,
        };
        let first = dims[0];
        let rest = dims[1..].iter().product();
        let (inputs, outputs) = match side {
            Side::Left => (first, rest),
            Side::Right => (rest, first),
        };
        Form::Kronecker {
            inputs,
            outputs,
            input_side: side,
        }
    }

    /// The slot of the weight beside this bias, if it has one with factors.
    fn weight_beside(&mut self, name: &str) -> Option<&mut Slot> {
        if name != "bias" {
            return None;
        }
        let (_, parent) = self.path.split_last()?;
        let weight = [parent, &["weight".to_string()]].concat().join(".");
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.weight.path == weight)?;
        let factored = matches!(slot.form, Form::Kronecker { .. });
        (factored && slot.bias.is_none()).then_some(slot)
    }
}

impl ModuleVisitor for Walk<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push(name.to_string());
        self.containers.push(container_type.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        let inside = |group: &&ParamGroup| group.matches(&param.id, Some(&path));
        let known = self.slots.iter().flat_map(Slot::params);
        // A parameter that two layers share is met twice.
        if !param.is_require_grad()
            || !self.group.as_ref().is_none_or(inside)
            || known.into_iter().any(|slot| slot.id == param.id)
        {
            return;
        }
        let value = param.base();
        let info = JacobianParam {
            id: param.id,
            path,
            shape: value.shape(),
        };
        let name = self.path.last().cloned().unwrap_or_default();
        if let Some(slot) = self.weight_beside(&name) {
            slot.bias = Some(info);
            return;
        }
        let dtype = match value.dtype() {
            DType::F64 => DType::F64,
            _ => DType::F32,
        };
        self.slots.push(Slot {
            form: self.form(&name, &info.shape),
            weight: info,
            bias: None,
            device: value.device().inner(),
            dtype,
        });
    }
}
