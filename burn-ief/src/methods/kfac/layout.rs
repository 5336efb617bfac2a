//! Which parameters of a module have Kronecker factors.

use burn::module::ParamId;
use burn::tensor::{DType, Device, Tensor};

use super::factor_options::FactorOptions;
use super::options::FallbackCurvature;
use crate::params::{Direction, ParamInfo};
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
    pub weight: ParamInfo,
    pub bias: Option<ParamInfo>,
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
    /// For the parameters that the method trains.
    pub fn new(params: &[ParamInfo], options: &FactorOptions) -> Self {
        let mut slots: Vec<Slot> = Vec::new();
        for param in params.iter().cloned() {
            if let Some(slot) = weight_of(&param, &mut slots) {
                slot.bias = Some(param);
            } else {
                slots.push(Slot {
                    form: form_of(&param),
                    device: param.device.clone(),
                    dtype: param.update_dtype(),
                    weight: param,
                    bias: None,
                });
            }
        }
        for slot in &mut slots {
            slot.settle(options);
        }
        Self { slots }
    }
}

impl Slot {
    pub fn params(&self) -> impl Iterator<Item = &ParamInfo> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    /// Entries of the weight and of the bias.
    pub fn columns(&self) -> usize {
        self.params().map(|p| p.shape.num_elements()).sum()
    }

    /// Count the bias in, and give up factors that are wider than allowed.
    fn settle(&mut self, options: &FactorOptions) {
        if let Form::Kronecker {
            inputs, outputs, ..
        } = &mut self.form
        {
            *inputs += usize::from(self.bias.is_some());
            if (*inputs).max(*outputs) > options.max_dimension {
                self.form = Form::Diagonal;
            }
        }
        if self.form == Form::Diagonal && options.fallback == FallbackCurvature::Gradient {
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

/// Layers whose kernel `[outputs, inputs, …]` is applied to the patches of their input.
const CONVOLUTIONS: [&str; 4] = [
    "Struct:Conv1d",
    "Struct:Conv2d",
    "Struct:Conv3d",
    "Struct:DeformConv2d",
];

/// Layers whose kernel `[inputs, outputs, …]` makes patches of their output. Their bias is added to the
/// output and not to the patches, so it is not part of the factors.
const TRANSPOSED: [&str; 3] = [
    "Struct:ConvTranspose1d",
    "Struct:ConvTranspose2d",
    "Struct:ConvTranspose3d",
];

/// The form that the container of a parameter suggests.
fn form_of(param: &ParamInfo) -> Form {
    let within = |container: &str| param.containers.iter().any(|c| c == container);
    let container = param.containers.last().map_or("", String::as_str);
    let name = param.path.rsplit('.').next().unwrap_or_default();
    let dims = param.shape.as_slice();
    let side = match (container, name, dims) {
        ("Struct:Linear", "weight", [_, _]) => Side::Left,
        (_, "weight", [_, _, ..]) if CONVOLUTIONS.contains(&container) => Side::Right,
        (_, "weight", [_, _, ..]) if TRANSPOSED.contains(&container) => Side::Left,
        // The factors of an adapter; those of an embedding's are look-ups.
        (_, _, [_, _])
            if within("Reparameterization")
                && !within("Struct:Embedding")
                && !CONVOLUTIONS.iter().any(|container| within(container)) =>
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

/// The slot of the weight next to this bias, if it has one with factors.
fn weight_of<'a>(bias: &ParamInfo, slots: &'a mut [Slot]) -> Option<&'a mut Slot> {
    let parent = bias.path.strip_suffix("bias")?;
    if !(parent.is_empty() || parent.ends_with('.')) {
        return None;
    }
    let weight = format!("{parent}weight");
    let slot = slots.iter_mut().find(|slot| slot.weight.path == weight)?;
    let factored = matches!(slot.form, Form::Kronecker { .. });
    let container = slot.weight.containers.last().map_or("", String::as_str);
    let fused = factored && !TRANSPOSED.contains(&container);
    (fused && slot.bias.is_none()).then_some(slot)
}
