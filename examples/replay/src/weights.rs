//! Burn's own layers with the weights of a case, trainable exactly where the case says so.

use std::collections::BTreeSet;

use burn::module::{Lora, Module, ModuleMapper, Param, ParamId};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{
    Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

use crate::case::Case;
use crate::error::Error;
use crate::place::Place;

/// A trainable parameter of a case.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name in the case, without `param.`.
    pub name: String,
    /// Its id in the module.
    pub id: ParamId,
    /// Its shape in the case (PyTorch's layout).
    pub shape: Vec<usize>,
    /// Whether Burn keeps the transpose.
    transposed: bool,
}

impl Parameter {
    /// Make `values`, row-major in the layout of the case, its entry of a direction.
    ///
    /// # Panics
    ///
    /// Panics if the values do not fit the shape.
    pub fn register(&self, values: &[f64], place: &Place, direction: &mut GradientsParams) {
        let (id, place) = (self.id, place.inner());
        match (self.transposed, self.shape.as_slice()) {
            (true, &[rows, columns]) => {
                let values = transpose(values, rows, columns);
                direction.register(id, place.tensor(&values, [columns, rows]));
            }
            (_, &[a]) => direction.register(id, place.tensor(values, [a])),
            (_, &[a, b]) => direction.register(id, place.tensor(values, [a, b])),
            (_, &[a, b, c]) => direction.register(id, place.tensor(values, [a, b, c])),
            (_, shape) => {
                let mut dims = [1; 4];
                dims[4 - shape.len()..].copy_from_slice(shape);
                direction.register(id, place.tensor(values, dims));
            }
        }
    }

    /// Its entry of a direction, row-major in the layout of the case; zero where there is none.
    pub fn read(&self, direction: &GradientsParams) -> Vec<f64> {
        let entry = match self.shape.len() {
            1 => direction.get::<1>(self.id).map(Tensor::into_data),
            2 => direction.get::<2>(self.id).map(Tensor::into_data),
            3 => direction.get::<3>(self.id).map(Tensor::into_data),
            _ => direction.get::<4>(self.id).map(Tensor::into_data),
        };
        let Some(data) = entry else {
            return vec![0.0; self.shape.iter().product()];
        };
        let values: Vec<f64> = data.iter::<f64>().collect();
        match (self.transposed, self.shape.as_slice()) {
            // Burn's is [columns, rows].
            (true, &[rows, columns]) => transpose(&values, columns, rows),
            _ => values,
        }
    }
}

/// Row-major transpose of a `[rows, columns]` matrix.
pub fn transpose(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns)
        .map(|k| values[(k % rows) * columns + k / rows])
        .collect()
}

/// Takes weights out of a case, layer by layer, and remembers which parameters are trainable.
///
/// A weight `w` is trainable if the case has it as `param.w`, and frozen if as `frozen.w`.
pub struct Weights<'a> {
    case: &'a Case,
    place: &'a Place,
    parameters: Vec<Parameter>,
    used: BTreeSet<String>,
}

/// How a weight of the case is kept in Burn.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Same,
    Transposed,
}

impl<'a> Weights<'a> {
    /// Nothing taken yet.
    pub fn new(case: &'a Case, place: &'a Place) -> Self {
        Self {
            case,
            place,
            parameters: Vec::new(),
            used: BTreeSet::new(),
        }
    }

    /// Whether the case has a weight of this name, trainable or frozen.
    pub fn has(&self, name: &str) -> bool {
        self.case.has(&format!("param.{name}")) || self.case.has(&format!("frozen.{name}"))
    }

    /// `<name>.weight [out, in]` and `<name>.bias [out]`, or, where there is `<name>.base`, that
    /// with LoRA factors `<name>.lora_A [r, in]` and `<name>.lora_B [out, r]`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Shape`], [`Error::Dtype`], [`Error::Value`].
    pub fn linear(
        &mut self,
        name: &str,
        d_input: Option<usize>,
        d_output: Option<usize>,
    ) -> Result<Linear, Error> {
        if self.has(&format!("{name}.base.weight")) {
            return self.lora(name, d_input, d_output);
        }
        self.dense(name, d_input, d_output)
    }

    fn dense(
        &mut self,
        name: &str,
        d_input: Option<usize>,
        d_output: Option<usize>,
    ) -> Result<Linear, Error> {
        let weight = format!("{name}.weight");
        let weight = self.take::<2>(&weight, [d_output, d_input], Layout::Transposed)?;
        let [d_input, d_output] = weight.dims();
        let bias = self.take::<1>(&format!("{name}.bias"), [Some(d_output)], Layout::Same)?;
        let mut linear = LinearConfig::new(d_input, d_output).init(&self.place.device);
        linear.weight = weight;
        linear.bias = Some(bias);
        Ok(linear)
    }

    /// A frozen linear layer whose weight carries Burn's own LoRA adapter, with scale `lora_alpha`
    /// over the rank.
    fn lora(
        &mut self,
        name: &str,
        d_input: Option<usize>,
        d_output: Option<usize>,
    ) -> Result<Linear, Error> {
        let base = format!("{name}.base");
        for part in ["weight", "bias"] {
            let tensor = format!("param.{base}.{part}");
            if self.case.has(&tensor) {
                let problem = "is trainable under a LoRA adapter: expected it as `frozen.`".into();
                return Err(Error::Value { tensor, problem });
            }
        }
        let linear = self.dense(&base, d_input, d_output)?;
        let [d_input, d_output] = linear.weight.dims();
        let a = self.take::<2>(
            &format!("{name}.lora_A"),
            [None, Some(d_input)],
            Layout::Transposed,
        )?;
        let [_, rank] = a.dims();
        let b = self.take::<2>(
            &format!("{name}.lora_B"),
            [Some(d_output), Some(rank)],
            Layout::Transposed,
        )?;
        let adapted = linear.apply_lora(Lora::new(rank, self.case.lora_alpha));
        let adapter = adapted.weight.adapter();
        let [own_a, own_b] = adapter.map_or([a.id, b.id], |own| [own.a.id, own.b.id]);
        // The adapter's own parameters have the ids that count.
        for parameter in &mut self.parameters {
            if parameter.id == a.id {
                parameter.id = own_a;
            } else if parameter.id == b.id {
                parameter.id = own_b;
            }
        }
        let mut factors = Factors {
            values: [(own_a, a), (own_b, b)],
        };
        Ok(adapted.map(&mut factors))
    }

    /// `<name>.weight [vocabulary, d]`.
    ///
    /// # Errors
    ///
    /// As [`linear`](Self::linear).
    pub fn embedding(&mut self, name: &str) -> Result<Embedding, Error> {
        let weight = self.take::<2>(&format!("{name}.weight"), [None, None], Layout::Same)?;
        let [vocabulary, d] = weight.dims();
        let mut embedding = EmbeddingConfig::new(vocabulary, d).init(&self.place.device);
        embedding.weight = weight;
        Ok(embedding)
    }

    /// `<name>.weight [d]` and `<name>.bias [d]`, ε = 1e-5.
    ///
    /// # Errors
    ///
    /// As [`linear`](Self::linear).
    pub fn layer_norm(&mut self, name: &str, d: usize) -> Result<LayerNorm, Error> {
        let mut norm = LayerNormConfig::new(d)
            .with_epsilon(1e-5)
            .init(&self.place.device);
        norm.gamma = self.take::<1>(&format!("{name}.weight"), [Some(d)], Layout::Same)?;
        norm.beta = Some(self.take::<1>(&format!("{name}.bias"), [Some(d)], Layout::Same)?);
        Ok(norm)
    }

    /// `<name>.weight [out, in, h, w]` and `<name>.bias [out]`.
    ///
    /// # Errors
    ///
    /// As [`linear`](Self::linear).
    pub fn conv(
        &mut self,
        name: &str,
        channels: usize,
        padding: PaddingConfig2d,
    ) -> Result<Conv2d, Error> {
        let shape = [None, Some(channels), Some(3), Some(3)];
        let weight = self.take::<4>(&format!("{name}.weight"), shape, Layout::Same)?;
        let [out, _, h, w] = weight.dims();
        let bias = self.take::<1>(&format!("{name}.bias"), [Some(out)], Layout::Same)?;
        let mut conv = Conv2dConfig::new([channels, out], [h, w])
            .with_padding(padding)
            .init(&self.place.device);
        conv.weight = weight;
        conv.bias = Some(bias);
        Ok(conv)
    }

    /// A soft prompt `<name> [length, d]`.
    ///
    /// # Errors
    ///
    /// As [`linear`](Self::linear).
    pub fn prompt(&mut self, name: &str, d: usize) -> Result<Param<Tensor<2>>, Error> {
        self.take::<2>(name, [None, Some(d)], Layout::Same)
    }

    /// The trainable parameters in the order of the case, after all layers are taken.
    ///
    /// # Errors
    ///
    /// [`Error::Unused`] if the case has weights or inputs that no layer took.
    pub fn finish(self, inputs: &[&str]) -> Result<Vec<Parameter>, Error> {
        let unused = self.case.names().filter(|name| {
            let weight = name.starts_with("param.") || name.starts_with("frozen.");
            let input = name.starts_with("input.") && !inputs.contains(name);
            input || (weight && !self.used.contains(*name))
        });
        let unused: Vec<String> = unused.map(str::to_string).collect();
        if !unused.is_empty() {
            return Err(Error::Unused {
                network: self.case.kind.describe(),
                tensors: unused,
            });
        }
        let mut parameters = self.parameters;
        let place = |p: &Parameter| self.case.order.iter().position(|name| *name == p.name);
        parameters.sort_by_key(place);
        Ok(parameters)
    }

    fn take<const D: usize>(
        &mut self,
        name: &str,
        shape: [Option<usize>; D],
        layout: Layout,
    ) -> Result<Param<Tensor<D>>, Error> {
        let names = ["param", "frozen"].map(|group| format!("{group}.{name}"));
        let (trainable, tensor) = match names.clone().map(|name| self.case.has(&name)) {
            [true, false] => (true, &names[0]),
            [false, true] => (false, &names[1]),
            [false, false] => {
                return Err(Error::Missing {
                    tensor: names.join("` or `"),
                });
            }
            [true, true] => {
                return Err(Error::Value {
                    tensor: names[0].clone(),
                    problem: format!("is also there as `{}`", names[1]),
                });
            }
        };
        let values = self.case.floats(tensor, &shape)?;
        let found = self.case.shape(tensor)?;
        let mut own = [0; D];
        own.copy_from_slice(found);
        if own.contains(&0) {
            return Err(Error::Shape {
                tensor: tensor.clone(),
                expected: "no empty axis".into(),
                found: own.into(),
            });
        }
        let value = match layout {
            Layout::Same => self.place.tensor(values, own),
            Layout::Transposed => {
                let values = transpose(values, own[0], own[1]);
                own.swap(0, 1);
                self.place.tensor(&values, own)
            }
        };
        let param = Param::from_tensor(value).set_require_grad(trainable);
        if trainable {
            self.parameters.push(Parameter {
                name: name.into(),
                id: param.id,
                shape: found.to_vec(),
                transposed: layout == Layout::Transposed,
            });
        }
        self.used.insert(tensor.clone());
        Ok(param)
    }
}

/// Puts the case's values in the place of an adapter's own.
struct Factors {
    values: [(ParamId, Param<Tensor<2>>); 2],
}

impl ModuleMapper for Factors {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some((_, factor)) = self.values.iter().find(|(id, _)| *id == param.id) else {
            return param;
        };
        let trainable = factor.is_require_grad();
        let value = factor.val().inner();
        let shape = value.shape();
        param.map(move |old| {
            let value: Tensor<D> = value.reshape(shape);
            let value = if old.device().is_autodiff() {
                value.autodiff()
            } else {
                value
            };
            value.set_require_grad(trainable)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_is_the_identity() {
        let values: Vec<f64> = (0..15).map(f64::from).collect();
        let once = transpose(&values, 3, 5);
        assert_eq!(once[1], 5.0);
        assert_eq!(transpose(&once, 5, 3), values);
    }
}
