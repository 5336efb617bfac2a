//! Burn's LSTM, in one and in two directions.

use burn::nn::{BiLstm, Lstm, LstmState};
use burn::tensor::Tensor;

use super::gates::{Gate, Gates};
use super::{Trace, batch_first, direction, empty_output, initial, outputs, stacked, visited};
use crate::nn::ForwardRecorded;
use crate::record::{Recorder, recorder, without_samples};

/// Records the linear layers of every gate, each once for all time steps.
///
/// The input is what Burn's `forward` takes: the sequences, and the state to begin with or `None`
/// for zeros. Burn's `LoraAdapter` on a weight is supported. An activation with parameters of its
/// own (`PRelu`, `SwiGlu`) is not recorded: freeze it.
///
/// With `batch_first` off, the batch is axis 1 of the sequences and of the outputs. Exchange the
/// axes before you pass the outputs to another recorded layer, or to
/// [`mark_output`](crate::mark_output): everywhere else the batch is axis 0.
///
/// # Shapes
///
/// - sequences: `[M, T, d_input]`, or `[T, M, d_input]` if `batch_first` is off
/// - state: cell and hidden state `[M, d_hidden]`
/// - output: `[M, T, d_hidden]`, or `[T, M, d_hidden]`, and the last state
///
/// ```
/// use burn::nn::LstmConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let lstm = LstmConfig::new(8, 16, true).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// let (y, state) = lstm.forward_recorded((x.clone(), None));
/// assert_eq!(y.dims(), [4, 7, 16]);
///
/// // The last state is the first one of the sequences' next part.
/// let (y, _) = lstm.forward_recorded((x, Some(state)));
/// assert_eq!(y.dims(), [4, 7, 16]);
/// ```
impl ForwardRecorded<(Tensor<3>, Option<LstmState<2>>)> for Lstm {
    type Output = (Tensor<3>, LstmState<2>);

    fn forward_recorded(&self, (input, state): (Tensor<3>, Option<LstmState<2>>)) -> Self::Output {
        if let Some(output) = empty_output(&input, self.batch_first, self.d_hidden) {
            let state = without_samples([0, self.d_hidden], &input);
            return (output, LstmState::new(state.clone(), state));
        }
        let Some(recorder) = recorder() else {
            return self.forward(input, state);
        };
        let input = recorder.batch(batch_first(input, self.batch_first));
        let (output, state) = run(self, &recorder, input, state, self.reverse);
        (batch_first(output, self.batch_first), state)
    }
}

/// Records the LSTMs of both directions.
///
/// See [`Lstm`] for what is recorded, and for `batch_first`.
///
/// # Shapes
///
/// - sequences: `[M, T, d_input]`, or `[T, M, d_input]` if `batch_first` is off
/// - state: cell and hidden state `[2, M, d_hidden]`
/// - output: `[M, T, 2 * d_hidden]`, or `[T, M, 2 * d_hidden]`, and the last state
///
/// ```
/// use burn::nn::BiLstmConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let lstm = BiLstmConfig::new(8, 16, true).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// let (y, state) = lstm.forward_recorded((x, None));
/// assert_eq!(y.dims(), [4, 7, 32]);
/// assert_eq!(state.hidden.dims(), [2, 4, 16]);
/// ```
impl ForwardRecorded<(Tensor<3>, Option<LstmState<3>>)> for BiLstm {
    type Output = (Tensor<3>, LstmState<3>);

    fn forward_recorded(&self, (input, state): (Tensor<3>, Option<LstmState<3>>)) -> Self::Output {
        if let Some(output) = empty_output(&input, self.batch_first, 2 * self.d_hidden) {
            let state = without_samples([2, 0, self.d_hidden], &input);
            return (output, LstmState::new(state.clone(), state));
        }
        let Some(recorder) = recorder() else {
            return self.forward(input, state);
        };
        let input = recorder.batch(batch_first(input, self.batch_first));
        let state_of = |index| {
            let state = state.clone();
            state.map(|state| state.map_state(|x| direction(x, index)))
        };
        let first = (input.clone(), state_of(0));
        let (forward, state_forward) = self.forward.forward_recorded(first);
        let (reverse, state_reverse) = run(&self.reverse, &recorder, input, state_of(1), true);
        let output = Tensor::cat(vec![forward, reverse], 2);
        let state = LstmState::stack(vec![state_forward, state_reverse], 0);
        (batch_first(output, self.batch_first), state)
    }
}

/// The outputs `[M, T, d_hidden]` and the last state for an input `[M, T, d_input]`.
fn run(
    lstm: &Lstm,
    recorder: &Recorder,
    input: Tensor<3>,
    state: Option<LstmState<2>>,
    reverse: bool,
) -> (Tensor<3>, LstmState<2>) {
    let width = lstm.d_hidden;
    let steps = input.dims()[1];
    let (cell, hidden) = state.map(LstmState::unpack).unzip();
    let mut cell = initial(recorder, cell, &input, width);
    let mut hidden = initial(recorder, hidden, &input, width);
    if steps == 0 {
        return (
            outputs(Vec::new(), &input, width),
            LstmState::new(cell, hidden),
        );
    }
    let mut controllers = vec![&lstm.input_gate, &lstm.output_gate, &lstm.cell_gate];
    if !lstm.input_forget {
        let forget = lstm.forget_gate.as_ref();
        controllers.push(forget.expect("an LSTM without `input_forget` has a forget gate"));
    }
    let gates: Vec<Gate<'_>> = controllers.into_iter().map(Gate::from).collect();
    let count = gates.len();
    let mut gates = Gates::new(recorder, gates, width, input.clone());
    let weights = gates.hidden_weights(0..count);

    let mut trace = Trace::with_steps(steps);
    for sums in visited(gates.sums(), reverse) {
        trace.before.push(hidden.clone());
        let sums = sums + hidden.matmul(weights.clone());
        let gate = |index| gates.columns(sums.clone(), index);
        let input = lstm.gate_activation.forward(gate(0));
        let output = lstm.gate_activation.forward(gate(1));
        let candidate = lstm.cell_activation.forward(gate(2));
        let forget = if lstm.input_forget {
            input.clone().neg().add_scalar(1.0)
        } else {
            lstm.gate_activation.forward(gate(3))
        };
        cell = forget * cell + input * candidate;
        if let Some(clip) = lstm.clip {
            cell = cell.clamp(-clip, clip);
        }
        hidden = output * lstm.hidden_activation.forward(cell.clone());
        trace.outputs.push(hidden.clone());
    }
    let trace = trace.ordered(reverse);
    if gates.trains {
        gates.record_inputs();
        let states = stacked(&trace.before);
        for gate in 0..count {
            gates.record_hidden(gate, &states, None);
        }
    }
    let output = outputs(trace.outputs, &input, width);
    (output, LstmState::new(cell, hidden))
}
