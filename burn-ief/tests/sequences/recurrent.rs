//! Recurrent layers.

use std::ops::Range;

use burn::module::Module;
use burn::nn::activation::ActivationConfig;
use burn::nn::gru::{BiGru, BiGruConfig, Gru, GruConfig};
use burn::nn::{
    BiLstm, BiLstmConfig, BiRnn, BiRnnConfig, Linear, LinearConfig, Lstm, LstmConfig, LstmState,
    Rnn, RnnConfig, RnnState,
};
use burn::tensor::{Device, Tensor, TensorData};
use burn_ief::nn::ForwardRecorded;
use proptest::prelude::*;

use super::check::{check, filled, noise, same_outputs, score};
use super::{config, devices_of_a_case};

#[derive(Debug, Clone, Copy)]
enum Kind {
    Rnn,
    BiRnn,
    Lstm,
    BiLstm,
    Gru,
    BiGru,
}

/// What is random about a layer and its batch.
#[derive(Debug, Clone)]
struct Case {
    kind: Kind,
    samples: usize,
    steps: usize,
    d_input: usize,
    d_hidden: usize,
    bias: bool,
    batch_first: bool,
    reverse: bool,
    clip: Option<f64>,
    input_forget: bool,
    reset_after: bool,
    /// Other activations than the usual ones.
    unusual: bool,
    given_state: bool,
    /// A linear layer in front, so that the input is on the autodiff graph.
    first: bool,
    /// Whether the layer is used a second time, beginning with the first call's last state.
    twice: bool,
    /// Whether the last state is in the loss.
    state_in_loss: bool,
    /// Whether the loss leaves out steps behind the length of each sample.
    padded: bool,
    /// Which parameters train.
    trained: u64,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let kinds = prop_oneof![
        Just(Kind::Rnn),
        Just(Kind::BiRnn),
        Just(Kind::Lstm),
        Just(Kind::BiLstm),
        Just(Kind::Gru),
        Just(Kind::BiGru)
    ];
    let sizes = (1..5usize, 1..8usize, 1..6usize, 1..7usize);
    let clip = prop_oneof![Just(None), Just(Some(0.4))];
    let flags = prop::array::uniform11(any::<bool>());
    let trained = prop_oneof![Just(u64::MAX), any::<u64>()];
    (kinds, sizes, clip, flags, trained, any::<u64>()).prop_map(
        |(kind, sizes, clip, flags, trained, seed)| Case {
            kind,
            samples: sizes.0,
            steps: sizes.1,
            d_input: sizes.2,
            d_hidden: sizes.3,
            bias: flags[0],
            batch_first: flags[1],
            reverse: flags[2],
            clip,
            input_forget: flags[3],
            reset_after: flags[4],
            unusual: flags[5],
            given_state: flags[6],
            first: flags[7],
            twice: flags[8],
            state_in_loss: flags[9],
            padded: flags[10],
            trained,
            seed,
        },
    )
}

#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "one value per test")]
enum Recurrent {
    Rnn(Rnn),
    BiRnn(BiRnn),
    Lstm(Lstm),
    BiLstm(BiLstm),
    Gru(Gru),
    BiGru(BiGru),
}

#[derive(Module, Debug)]
struct Net {
    first: Option<Linear>,
    layer: Recurrent,
    twice: bool,
}

impl Case {
    /// Hidden and cell states of all directions.
    fn states(&self) -> usize {
        match self.kind {
            Kind::Rnn | Kind::Gru => 1,
            Kind::BiRnn | Kind::BiGru | Kind::Lstm => 2,
            Kind::BiLstm => 4,
        }
    }

    fn net(&self, device: &Device) -> Net {
        let (i, h, bias) = (self.d_input, self.d_hidden, self.bias);
        let [gate, inner, hidden] = if self.unusual {
            [
                ActivationConfig::Tanh,
                ActivationConfig::Sigmoid,
                ActivationConfig::Softsign,
            ]
        } else {
            [
                ActivationConfig::Sigmoid,
                ActivationConfig::Tanh,
                ActivationConfig::Tanh,
            ]
        };
        let layer = match self.kind {
            Kind::Rnn => Recurrent::Rnn(
                RnnConfig::new(i, h, bias)
                    .with_batch_first(self.batch_first)
                    .with_reverse(self.reverse)
                    .with_clip(self.clip)
                    .with_hidden_activation(hidden)
                    .init(device),
            ),
            Kind::BiRnn => Recurrent::BiRnn(
                BiRnnConfig::new(i, h, bias)
                    .with_batch_first(self.batch_first)
                    .with_clip(self.clip)
                    .with_hidden_activation(hidden)
                    .init(device),
            ),
            Kind::Lstm => Recurrent::Lstm(
                LstmConfig::new(i, h, bias)
                    .with_batch_first(self.batch_first)
                    .with_reverse(self.reverse)
                    .with_clip(self.clip)
                    .with_input_forget(self.input_forget)
                    .with_gate_activation(gate)
                    .with_cell_activation(inner)
                    .with_hidden_activation(hidden)
                    .init(device),
            ),
            Kind::BiLstm => Recurrent::BiLstm(
                BiLstmConfig::new(i, h, bias)
                    .with_batch_first(self.batch_first)
                    .with_clip(self.clip)
                    .with_input_forget(self.input_forget)
                    .with_gate_activation(gate)
                    .with_cell_activation(inner)
                    .with_hidden_activation(hidden)
                    .init(device),
            ),
            Kind::Gru => Recurrent::Gru(
                GruConfig::new(i, h, bias)
                    .with_reset_after(self.reset_after)
                    .with_clip(self.clip)
                    .with_gate_activation(gate)
                    .with_hidden_activation(hidden)
                    .init(device),
            ),
            Kind::BiGru => Recurrent::BiGru(
                BiGruConfig::new(i, h, bias)
                    .with_batch_first(self.batch_first)
                    .with_reset_after(self.reset_after)
                    .with_clip(self.clip)
                    .with_gate_activation(gate)
                    .with_hidden_activation(hidden)
                    .init(device),
            ),
        };
        let net = Net {
            first: self.first.then(|| LinearConfig::new(i, i).init(device)),
            layer,
            twice: self.twice,
        };
        filled(net, self.seed, self.trained)
    }
}

/// Burn's own forward pass outside of a recording, and the recorded one inside.
impl Recurrent {
    /// `x` is `[M, T, d]`, the states `[states, M, d_hidden]`.
    fn forward(&self, x: Tensor<3>, state: Option<Tensor<3>>) -> (Tensor<3>, Tensor<3>) {
        let turned = |x: Tensor<3>, batch_first| if batch_first { x } else { x.swap_dims(0, 1) };
        let part = |state: &Tensor<3>, index| -> Tensor<2> {
            state.clone().narrow(0, index, 1).squeeze_dim(0)
        };
        let state = state.as_ref();
        match self {
            Self::Rnn(layer) => {
                let first = layer.batch_first;
                let state = state.map(|state| RnnState::new(part(state, 0)));
                let (y, state) = layer.forward_recorded((turned(x, first), state));
                (turned(y, first), state.hidden.unsqueeze_dim(0))
            }
            Self::BiRnn(layer) => {
                let first = layer.batch_first;
                let state = state.map(|state| RnnState::new(state.clone()));
                let (y, state) = layer.forward_recorded((turned(x, first), state));
                (turned(y, first), state.hidden)
            }
            Self::Lstm(layer) => {
                let first = layer.batch_first;
                let state = state.map(|state| LstmState::new(part(state, 0), part(state, 1)));
                let (y, state) = layer.forward_recorded((turned(x, first), state));
                let state = Tensor::stack(vec![state.cell, state.hidden], 0);
                (turned(y, first), state)
            }
            Self::BiLstm(layer) => {
                let first = layer.batch_first;
                let two = |state: &Tensor<3>, start| state.clone().narrow(0, start, 2);
                let state = state.map(|state| LstmState::new(two(state, 0), two(state, 2)));
                let (y, state) = layer.forward_recorded((turned(x, first), state));
                (
                    turned(y, first),
                    Tensor::cat(vec![state.cell, state.hidden], 0),
                )
            }
            Self::Gru(layer) => {
                let y = layer.forward_recorded((x, state.map(|state| part(state, 0))));
                let steps = y.dims()[1];
                let state = y.clone().narrow(1, steps - 1, 1).swap_dims(0, 1);
                (y, state)
            }
            Self::BiGru(layer) => {
                let first = layer.batch_first;
                let (y, state) = layer.forward_recorded((turned(x, first), state.cloned()));
                (turned(y, first), state)
            }
        }
    }
}

impl Net {
    /// Outputs of all calls `[M, T, …]` and the last state `[M, states, d_hidden]`.
    fn forward(&self, x: Tensor<3>, state: Option<Tensor<3>>) -> (Tensor<3>, Tensor<3>) {
        let x = match &self.first {
            Some(first) => first.forward_recorded(x),
            None => x,
        };
        let (mut y, mut state) = self.layer.forward(x.clone(), state);
        if self.twice {
            let (again, last) = self.layer.forward(x * 0.8 + 0.1, Some(state));
            y = Tensor::cat(vec![y, again], 2);
            state = last;
        }
        (y, state.swap_dims(0, 1))
    }
}

/// Inputs, initial states and weights of the loss, the samples on axis 0.
struct Batch {
    x: Tensor<3>,
    state: Option<Tensor<3>>,
    weights: Tensor<3>,
    state_weights: Option<Tensor<3>>,
}

impl Batch {
    fn new(case: &Case, net: &Net, device: &Device) -> Self {
        let (m, t, h) = (case.samples, case.steps, case.d_hidden);
        let seed = case.seed ^ 0x5eed;
        let x = noise([m, t, case.d_input], seed, device);
        let state = noise([m, case.states(), h], seed + 1, device) * 0.5;
        let state = case.given_state.then_some(state);
        let (y, _) = net.forward(x.clone(), state.clone().map(|s| s.swap_dims(0, 1)));
        let mut weights = noise(y.dims(), seed + 2, device);
        if case.padded {
            let real: Vec<f32> = (0..m * t)
                .map(|i| f32::from((i % t) <= (i / t + case.seed as usize % t) % t))
                .collect();
            let real = Tensor::<3>::from_data(TensorData::new(real, [m, t, 1]), device);
            weights = weights * real;
        }
        let state_weights = noise([m, case.states(), h], seed + 3, device);
        Self {
            x,
            state,
            weights,
            state_weights: case.state_in_loss.then_some(state_weights),
        }
    }

    fn outputs(&self, net: &Net, range: Range<usize>) -> (Tensor<3>, Tensor<3>) {
        let rows = |x: &Tensor<3>| x.clone().slice([range.clone()]);
        let state = self.state.as_ref().map(|s| rows(s).swap_dims(0, 1));
        net.forward(rows(&self.x), state)
    }

    fn loss(&self, net: &Net, range: Range<usize>) -> Tensor<1> {
        let (y, state) = self.outputs(net, range.clone());
        let rows = |x: &Tensor<3>| x.clone().slice([range.clone()]);
        let loss = score(y, rows(&self.weights));
        match &self.state_weights {
            Some(weights) => loss + score(state, rows(weights)),
            None => loss,
        }
    }
}

proptest! {
    #![proptest_config(config(120))]

    #[test]
    fn recorded_rows_are_those_of_the_samples(case in cases()) {
        for device in devices_of_a_case() {
            let net = case.net(&device);
            let batch = Batch::new(&case, &net, &device);
            check(&net, case.samples, |net, range| batch.loss(net, range));
            same_outputs(|| batch.outputs(&net, 0..case.samples).0);
            same_outputs(|| batch.outputs(&net, 0..case.samples).1);
        }
    }
}
