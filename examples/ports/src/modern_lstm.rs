//! `modern-lstm`: cells with layer norms, called step by step, in two layers and both directions.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::loss::{MseLoss, Reduction};
use burn::nn::{
    Dropout, DropoutConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig,
    LstmState,
};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::prelude::*;

use crate::batch::Measured;
use crate::port::{Evaluation, Form, Port};

/// Numbers of a sequence that the model reads: two to begin with and nine of the ten that follow.
pub const LENGTH: usize = 11;

/// A cell: one linear layer for the input and one for the hidden state, each for all gates, and three norms.
#[derive(Module, Debug)]
struct LstmCell {
    hidden_size: usize,
    weight_ih: Linear,
    weight_hh: Linear,
    norm_x: LayerNorm,
    norm_h: LayerNorm,
    norm_c: LayerNorm,
    dropout: Dropout,
}

impl LstmCell {
    fn new(input: usize, hidden: usize, dropout: f64, device: &Device) -> Self {
        let gates = |from| with_open_forget_gate(from, hidden, device);
        let norm = |width| LayerNormConfig::new(width).init(device);
        Self {
            hidden_size: hidden,
            weight_ih: gates(input),
            weight_hh: gates(hidden),
            norm_x: norm(4 * hidden),
            norm_h: norm(hidden),
            norm_c: norm(hidden),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// An input `[M, d]` and the last state `[M, hidden]`, to the new state.
    fn forward(&self, x: Tensor<2>, state: LstmState<2>) -> LstmState<2> {
        let gates_x = self.norm_x.forward(self.weight_ih.forward(x));
        let gates = gates_x + self.weight_hh.forward(state.hidden);
        let [input, forget, candidate, output] = four(gates);
        let cell = sigmoid(forget) * state.cell + sigmoid(input) * candidate.tanh();
        let cell = self.norm_c.forward(cell);
        let hidden = sigmoid(output) * cell.clone().tanh();
        let hidden = self.norm_h.forward(hidden);
        LstmState::new(cell, self.dropout.forward(hidden))
    }

    /// [`forward`](Self::forward), recorded.
    fn forward_recorded(&self, x: Tensor<2>, state: LstmState<2>) -> LstmState<2> {
        let gates_x = self
            .norm_x
            .forward_recorded(self.weight_ih.forward_recorded(x));
        let gates = gates_x + self.weight_hh.forward_recorded(state.hidden);
        let [input, forget, candidate, output] = four(gates);
        let cell = sigmoid(forget) * state.cell + sigmoid(input) * candidate.tanh();
        let cell = self.norm_c.forward_recorded(cell);
        let hidden = sigmoid(output) * cell.clone().tanh();
        let hidden = self.norm_h.forward_recorded(hidden);
        LstmState::new(cell, self.dropout.forward(hidden))
    }
}

/// A linear layer for four gates, whose bias is 1 for the second of them.
fn with_open_forget_gate(input: usize, hidden: usize, device: &Device) -> Linear {
    let mut layer = LinearConfig::new(input, 4 * hidden)
        .with_initializer(Initializer::XavierNormal { gain: 1.0 })
        .init(device);
    let ones = Tensor::<1>::ones([hidden], device);
    let forget = hidden..2 * hidden;
    let open = |bias: Param<Tensor<1>>| {
        bias.map(|bias| {
            bias.slice_assign([forget.clone()], ones.clone())
                .detach()
                .require_grad()
        })
    };
    layer.bias = layer.bias.map(open);
    layer
}

fn four(gates: Tensor<2>) -> [Tensor<2>; 4] {
    gates
        .chunk(4, 1)
        .try_into()
        .expect("four gates of one width")
}

/// Cells on top of each other.
#[derive(Module, Debug)]
struct StackedLstm {
    layers: Vec<LstmCell>,
}

impl StackedLstm {
    fn new(config: &ModelConfig, device: &Device) -> Self {
        let layers = (0..config.layers).map(|at| {
            let input = if at == 0 { config.input } else { config.hidden };
            let last = at + 1 == config.layers;
            let dropout = if last { 0.0 } else { config.dropout };
            LstmCell::new(input, config.hidden, dropout, device)
        });
        Self {
            layers: layers.collect(),
        }
    }

    /// `[M, T, input]` to `[M, T, hidden]`, from states of zeros.
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [samples, length, _] = x.dims();
        let mut states = self.initial(samples, &x.device());
        let mut outputs = Vec::with_capacity(length);
        for t in 0..length {
            let mut input = x.clone().narrow(1, t, 1).squeeze_dim::<2>(1);
            for (cell, state) in self.layers.iter().zip(&mut states) {
                *state = cell.forward(input, state.clone());
                input = state.hidden.clone();
            }
            outputs.push(input);
        }
        Tensor::stack(outputs, 1)
    }

    /// [`forward`](Self::forward), recorded.
    fn forward_recorded(&self, x: Tensor<3>) -> Tensor<3> {
        let [samples, length, _] = x.dims();
        let mut states = self.initial(samples, &x.device());
        let mut outputs = Vec::with_capacity(length);
        for t in 0..length {
            let mut input = x.clone().narrow(1, t, 1).squeeze_dim::<2>(1);
            for (cell, state) in self.layers.iter().zip(&mut states) {
                *state = cell.forward_recorded(input, state.clone());
                input = state.hidden.clone();
            }
            outputs.push(input);
        }
        Tensor::stack(outputs, 1)
    }

    fn initial(&self, samples: usize, device: &Device) -> Vec<LstmState<2>> {
        let layers = self.layers.iter();
        layers
            .map(|cell| LstmState::initial([samples, cell.hidden_size], device))
            .collect()
    }
}

/// A stack of cells in each direction, and a head on the outputs of the last step.
#[derive(Module, Debug)]
pub struct Model {
    stacked_lstm: StackedLstm,
    reverse_lstm: StackedLstm,
    dropout: Dropout,
    fc: Linear,
}

/// Sizes of a [`Model`].
#[derive(Config, Debug)]
pub struct ModelConfig {
    /// Numbers at each step.
    #[config(default = 1)]
    pub input: usize,
    /// Width of the states.
    #[config(default = 32)]
    pub hidden: usize,
    /// Cells on top of each other.
    #[config(default = 2)]
    pub layers: usize,
    /// Probability with which values are dropped, between layers and in front of the head.
    #[config(default = 0.1)]
    pub dropout: f64,
}

impl ModelConfig {
    /// A new model.
    pub fn init(&self, device: &Device) -> Model {
        Model {
            stacked_lstm: StackedLstm::new(self, device),
            reverse_lstm: StackedLstm::new(self, device),
            dropout: DropoutConfig::new(self.dropout).init(),
            fc: LinearConfig::new(2 * self.hidden, 1).init(device),
        }
    }
}

impl Model {
    /// Sequences `[M, T, input]` to predictions `[M, 1]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let output = self.stacked_lstm.forward(x.clone());
        let reverse = self.reverse_lstm.forward(x.flip([1])).flip([1]);
        let output = self.dropout.forward(Tensor::cat(vec![output, reverse], 2));
        self.fc.forward(output.slice_dim(1, -1).squeeze_dim::<2>(1))
    }

    /// [`forward`](Self::forward), recorded.
    pub fn forward_recorded(&self, x: Tensor<3>) -> Tensor<2> {
        let output = self.stacked_lstm.forward_recorded(x.clone());
        let reverse = self.reverse_lstm.forward_recorded(x.flip([1])).flip([1]);
        let output = self.dropout.forward(Tensor::cat(vec![output, reverse], 2));
        self.fc
            .forward_recorded(output.slice_dim(1, -1).squeeze_dim::<2>(1))
    }

    /// The mean squared error of a batch.
    pub fn loss(&self, batch: Measured<3>) -> Tensor<1> {
        let predicted = self.forward(batch.inputs);
        MseLoss::new().forward(predicted, batch.targets, Reduction::Mean)
    }

    /// [`loss`](Self::loss), recorded.
    pub fn loss_recorded(&self, batch: Measured<3>) -> Tensor<1> {
        let predicted = mark_output(self.forward_recorded(batch.inputs));
        MseLoss::new().forward(predicted, batch.targets, Reduction::Mean)
    }
}

/// The example `modern-lstm`.
#[derive(Debug)]
pub struct ModernLstm;

impl Port for ModernLstm {
    type Model = Model;
    type Batch = Measured<3>;

    const NAME: &'static str = "modern-lstm";
    const BATCH: usize = 32;
    const CLASSIFIES: bool = false;

    fn model(_form: Form, device: &Device) -> Model {
        ModelConfig::new().init(device)
    }

    fn random_batch(samples: usize, device: &Device) -> Measured<3> {
        let inputs = Tensor::random([samples, LENGTH, 1], Distribution::Default, device);
        let last = inputs.clone().narrow(1, LENGTH - 2, 2).sum_dim(1);
        Measured {
            targets: last.squeeze_dim(1),
            inputs,
        }
    }

    fn loss(model: &Model, batch: Measured<3>) -> Tensor<1> {
        model.loss(batch)
    }

    fn loss_recorded(model: &Model, batch: Measured<3>) -> Tensor<1> {
        model.loss_recorded(batch)
    }

    fn evaluate(model: &Model, batch: Measured<3>) -> Evaluation {
        let predicted = model.valid().forward(batch.inputs.inner());
        Evaluation::of_numbers(predicted, batch.targets.inner())
    }
}
