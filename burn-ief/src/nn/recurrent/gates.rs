//! The gates of a recurrent layer, for all time steps of a recorded call.

use std::cell::RefCell;
use std::rc::Rc;

use burn::module::Param;
use burn::nn::{GateController, Linear};
use burn::tensor::{Gradients, Tensor, assert_shape};

use crate::params::widen;
use crate::record::{Recorder, Tap, constant, is_composed};
use crate::rows::{Outer, Rows};

/// A gate and how its hidden bias is added.
pub(super) struct Gate<'a> {
    pub controller: &'a GateController,
    /// Whether the bias of the hidden transform is simply added to the gate's sum. The candidate
    /// gate of a GRU may multiply it by the reset gate.
    pub adds_hidden_bias: bool,
}

impl<'a> From<&'a GateController> for Gate<'a> {
    fn from(controller: &'a GateController) -> Self {
        Self {
            controller,
            adds_hidden_bias: true,
        }
    }
}

/// The gates of one recorded call, whose inputs `[M, T, d_input]` are known for all time steps.
///
/// The products of the inputs are one matrix product for all gates and steps. Every step has a leaf
/// at the sums of its gates. Their gradients are the output errors of both linear layers of a gate,
/// so each layer is recorded once, with the steps as positions.
///
/// There is one leaf per step and not one for all steps: reading a step out of a leaf `[M, T, …]`
/// would make `backward` fill and add a tensor of that size for every step.
pub(super) struct Gates<'a> {
    recorder: &'a Recorder,
    gates: Vec<Gate<'a>>,
    width: usize,
    /// Whether anything is recorded.
    pub trains: bool,
    /// `[M, T, d_input]`.
    inputs: Tensor<3>,
    errors: Errors,
    sums: Vec<Tensor<2>>,
}

impl<'a> Gates<'a> {
    pub fn new(
        recorder: &'a Recorder,
        gates: Vec<Gate<'a>>,
        width: usize,
        input: Tensor<3>,
    ) -> Self {
        let [batch, steps, d_input] = input.dims();
        for gate in &gates {
            let weight = &gate.controller.input_transform.weight;
            assert_eq!(weight.shape()[0], d_input, "input features of a gate");
        }
        let weights = gates
            .iter()
            .map(|gate| value(&gate.controller.input_transform.weight));
        let weights = Tensor::cat(weights.collect(), 1);
        let [_, columns] = weights.dims();
        let x = input.clone().swap_dims(0, 1);
        let product = x.reshape([steps * batch, d_input]).matmul(weights);
        let bias = bias(&gates, &product);

        let trains = gates.iter().any(|gate| {
            let controller = gate.controller;
            trains(&controller.input_transform) || trains(&controller.hidden_transform)
        });
        let by_step = |sums: Tensor<2>| split(sums.reshape([steps, batch, columns]));
        let leaf = |sums: Tensor<2>, like: &Tensor<2>| {
            let parameter = &gates[0].controller.input_transform.weight;
            recorder.leaf(sums, like, parameter)
        };
        let (sums, taps) = if !trains {
            (by_step(with_bias(product, bias)), Vec::new())
        } else if product.is_tracked() {
            let leaf_value = match bias {
                Some(bias) => bias.unsqueeze::<2>(),
                None => Tensor::zeros([1, 1], (&product.device().inner(), product.dtype())),
            };
            let leaf_value = leaf_value.expand([batch, columns]);
            let shares = by_step(product);
            let tapped = shares.into_iter().map(|share| {
                let tap = leaf(leaf_value.clone(), &share);
                (share + tap.value(), tap)
            });
            tapped.unzip()
        } else {
            let sums = by_step(with_bias(product, bias));
            let tapped = sums.into_iter().map(|sums| {
                let tap = leaf(sums.clone(), &sums);
                (tap.value(), tap)
            });
            tapped.unzip()
        };
        Self {
            recorder,
            gates,
            width,
            trains,
            inputs: constant(&input),
            errors: Errors::new(taps),
            sums,
        }
    }

    /// The sums of all gates for every time step, `[M, gates * d_hidden]` each, without the products
    /// of the hidden state.
    pub fn sums(&mut self) -> Vec<Tensor<2>> {
        std::mem::take(&mut self.sums)
    }

    /// The weights of the hidden state of these gates next to each other, `[d_hidden, …]`.
    pub fn hidden_weights(&self, gates: std::ops::Range<usize>) -> Tensor<2> {
        let weights = self.gates[gates].iter().map(|gate| {
            let weight = value(&gate.controller.hidden_transform.weight);
            assert_shape!(weight, [self.width, self.width]);
            weight
        });
        Tensor::cat(weights.collect(), 1)
    }

    /// The bias of the hidden transform of a gate.
    pub fn hidden_bias(&self, gate: usize) -> Option<Tensor<1>> {
        let bias = self.gates[gate].controller.hidden_transform.bias.as_ref();
        bias.map(|bias| bias.val().inner())
    }

    /// The columns of a gate.
    pub fn columns(&self, all: Tensor<2>, gate: usize) -> Tensor<2> {
        all.narrow(1, gate * self.width, self.width)
    }

    /// Record the input transform of every gate.
    pub fn record_inputs(&self) {
        for (index, gate) in self.gates.iter().enumerate() {
            let error = self.error(index);
            self.record(&gate.controller.input_transform, &self.inputs, error);
        }
    }

    /// Record the hidden transform of a gate, for the hidden states `[M, T, d_hidden]` that it saw.
    ///
    /// `factors` are what its output was multiplied by, `[M, T, d_hidden]`.
    pub fn record_hidden(&self, gate: usize, states: &Tensor<3>, factors: Option<Tensor<3>>) {
        let error = self.error(gate);
        let error = move |grads: &Gradients| {
            let error = error(grads)?;
            Some(match &factors {
                Some(factors) => error * factors.clone(),
                None => error,
            })
        };
        let layer = &self.gates[gate].controller.hidden_transform;
        self.record(layer, states, error);
    }

    /// The error at the sums of a gate, `[M, T, d_hidden]`.
    fn error(&self, gate: usize) -> impl Fn(&Gradients) -> Option<Tensor<3>> + Clone + use<> {
        let (errors, width) = (self.errors.clone(), self.width);
        move |grads| Some(errors.all(grads)?.narrow(2, gate * width, width))
    }

    /// Record a linear layer from its inputs and output errors in all steps.
    fn record(
        &self,
        layer: &Linear,
        inputs: &Tensor<3>,
        error: impl Fn(&Gradients) -> Option<Tensor<3>> + Clone + 'static,
    ) {
        let [batch, positions, d_input] = inputs.dims();
        if let Some(adapter) = layer.weight.adapter() {
            let [a, b] = [&adapter.a, &adapter.b].map(|factor| widen(factor.val().inner()));
            let scale = adapter.scale;
            let flat = [batch * positions, d_input];
            if adapter.b.is_require_grad() {
                let (inputs, error) = (inputs.clone(), error.clone());
                self.recorder.record(&adapter.b, batch, move |grads| {
                    let hidden = inputs.reshape(flat).matmul(a) * scale;
                    let hidden = positioned(hidden, batch);
                    Some(Rows::outer(hidden, error(grads)?))
                });
            }
            if adapter.a.is_require_grad() {
                let (inputs, error) = (inputs.clone(), error.clone());
                self.recorder.record(&adapter.a, batch, move |grads| {
                    let error = error(grads)?;
                    let [_, _, d_output] = error.dims();
                    let error = error.reshape([batch * positions, d_output]);
                    let error = error.matmul(b.transpose()) * scale;
                    Some(Rows::outer(inputs, positioned(error, batch)))
                });
            }
        }
        let weight = (trains_weight(&layer.weight)).then_some(&layer.weight);
        let bias = layer.bias.as_ref().filter(|bias| bias.is_require_grad());
        let d_output = layer.weight.shape()[1];
        let factored =
            self.recorder.keeps_factors() || positions * (d_input + d_output) <= d_input * d_output;
        if let (Some(weight), true) = (weight, factored) {
            let bias = bias.map(|bias| bias.id);
            let inputs = inputs.clone();
            self.recorder.push(weight.id, bias, batch, move |grads| {
                let rows = Outer::new(inputs, error(grads)?);
                Some(Rows::Outer(if bias.is_some() {
                    rows.with_bias()
                } else {
                    rows
                }))
            });
            return;
        }
        if let Some(weight) = weight {
            let (inputs, error) = (inputs.clone(), error.clone());
            self.recorder.record(weight, batch, move |grads| {
                let rows = Rows::outer(inputs, error(grads)?);
                Some(Rows::dense(rows.to_dense()))
            });
        }
        if let Some(bias) = bias {
            self.recorder.record(bias, batch, move |grads| {
                Some(Rows::dense(error(grads)?.sum_dim(1).squeeze_dim(1)))
            });
        }
    }
}

/// The gradients at the leaves of all steps, collected once.
#[derive(Clone)]
struct Errors {
    taps: Rc<Vec<Tap<2>>>,
    collected: Rc<RefCell<Option<Tensor<3>>>>,
}

impl Errors {
    fn new(taps: Vec<Tap<2>>) -> Self {
        Self {
            taps: Rc::new(taps),
            collected: Rc::default(),
        }
    }

    /// `[M, T, gates * d_hidden]`; `None` if no step affects the loss.
    fn all(&self, grads: &Gradients) -> Option<Tensor<3>> {
        if let Some(known) = self.collected.borrow().as_ref() {
            return Some(known.clone());
        }
        let errors: Vec<_> = self.taps.iter().map(|tap| tap.error(grads)).collect();
        let zeros = errors.iter().flatten().next()?.zeros_like();
        let errors = errors
            .into_iter()
            .map(|error| error.unwrap_or_else(|| zeros.clone()));
        let all: Tensor<3> = Tensor::stack(errors.collect(), 1);
        *self.collected.borrow_mut() = Some(all.clone());
        Some(all)
    }
}

/// A weight as the products use it: off the autodiff graph, unless there is no rule for it.
fn value(weight: &Param<Tensor<2>>) -> Tensor<2> {
    if is_composed(weight) {
        weight.val()
    } else {
        weight.val().inner()
    }
}

fn trains_weight(weight: &Param<Tensor<2>>) -> bool {
    weight.is_require_grad() && !is_composed(weight)
}

fn trains(layer: &Linear) -> bool {
    let adapter = layer.weight.adapter();
    trains_weight(&layer.weight)
        || layer.bias.as_ref().is_some_and(|b| b.is_require_grad())
        || adapter.is_some_and(|x| x.a.is_require_grad() || x.b.is_require_grad())
}

/// The sum of the biases of every gate, `[gates * d_hidden]`; `None` if no gate has one.
fn bias(gates: &[Gate<'_>], like: &Tensor<2>) -> Option<Tensor<1>> {
    let added = |gate: &Gate<'_>| {
        let hidden = gate.controller.hidden_transform.bias.as_ref();
        let hidden = hidden.filter(|_| gate.adds_hidden_bias);
        let input = gate.controller.input_transform.bias.as_ref();
        let all = input.into_iter().chain(hidden);
        all.map(|bias| bias.val().inner()).reduce(|a, b| a + b)
    };
    let biases: Vec<_> = gates.iter().map(added).collect();
    if biases.iter().all(Option::is_none) {
        return None;
    }
    let filled = gates.iter().zip(biases).map(|(gate, bias)| {
        let width = gate.controller.input_transform.weight.shape()[1];
        bias.unwrap_or_else(|| Tensor::zeros([width], (&like.device().inner(), like.dtype())))
    });
    Some(Tensor::cat(filled.collect(), 0))
}

fn with_bias(product: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    match bias {
        Some(bias) => product + bias.unsqueeze(),
        None => product,
    }
}

/// The slices along axis 0.
///
/// `backward` fills a tensor of the size of `x` for every slice of `x`. On the graph, `x` is therefore
/// halved again and again, which takes T log T instead of T² work.
fn split(x: Tensor<3>) -> Vec<Tensor<2>> {
    let [steps, batch, width] = x.dims();
    if steps == 1 {
        return vec![x.reshape([batch, width])];
    }
    let parts = if x.is_tracked() { 2 } else { steps };
    let size = steps.div_ceil(parts);
    let starts = (0..steps).step_by(size);
    starts
        .flat_map(|start| split(x.clone().narrow(0, start, size.min(steps - start))))
        .collect()
}

/// `[M * T, d]` to `[M, T, d]`.
fn positioned(x: Tensor<2>, batch: usize) -> Tensor<3> {
    let [rows, width] = x.dims();
    x.reshape([batch, rows / batch, width])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::split;

    #[test]
    fn slices_are_in_order_on_and_off_the_graph() {
        let device = Device::flex().autodiff();
        for steps in 1..12 {
            let x = Tensor::<1, burn::tensor::Int>::arange(0..steps * 6, &device).float();
            let x = x.reshape([steps as usize, 3, 2]);
            for x in [x.clone(), x.require_grad()] {
                let slices = split(x.clone());
                assert_eq!(slices.len(), steps as usize);
                let again: Tensor<3> = Tensor::stack(slices, 0);
                again.clone().into_data().assert_eq(&x.to_data(), true);
                if x.is_tracked() {
                    let grads = (again.clone() * again).sum().backward();
                    let grad = x.grad(&grads).unwrap();
                    let expected = x.inner() * 2.0;
                    grad.into_data().assert_eq(&expected.into_data(), true);
                }
            }
        }
    }
}
