//! Burn's plain recurrent layer, in one and in two directions.

use burn::nn::{BiRnn, Rnn, RnnState};
use burn::tensor::Tensor;

use super::gates::{Gate, Gates};
use super::{Trace, batch_first, direction, empty_output, initial, outputs, stacked, visited};
use crate::nn::ForwardRecorded;
use crate::record::{Recorder, recorder, without_samples};

/// Records the two linear layers of the gate, each once for all time steps.
///
/// The input is what Burn's `forward` takes: the sequences, and the state to begin with or `None`
/// for zeros. See [`Lstm`](burn::nn::Lstm) for adapters, activations and `batch_first`.
///
/// # Shapes
///
/// - sequences: `[M, T, d_input]`, or `[T, M, d_input]` if `batch_first` is off
/// - state: `[M, d_hidden]`
/// - output: `[M, T, d_hidden]`, or `[T, M, d_hidden]`, and the last state
///
/// ```
/// use burn::nn::RnnConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let rnn = RnnConfig::new(8, 16, true).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// let (y, state) = rnn.forward_recorded((x, None));
/// assert_eq!(y.dims(), [4, 7, 16]);
/// assert_eq!(state.hidden.dims(), [4, 16]);
/// ```
impl ForwardRecorded<(Tensor<3>, Option<RnnState<2>>)> for Rnn {
    type Output = (Tensor<3>, RnnState<2>);

    fn forward_recorded(&self, (input, state): (Tensor<3>, Option<RnnState<2>>)) -> Self::Output {
        if let Some(output) = empty_output(&input, self.batch_first, self.d_hidden) {
            let state = without_samples([0, self.d_hidden], &input);
            return (output, RnnState::new(state));
        }
        let Some(recorder) = recorder() else {
            return self.forward(input, state);
        };
        let input = recorder.batch(batch_first(input, self.batch_first));
        let state = state.map(|state| state.hidden);
        let (output, state) = run(self, &recorder, input, state, self.reverse);
        (batch_first(output, self.batch_first), RnnState::new(state))
    }
}

/// Records the layers of both directions.
///
/// See [`Lstm`](burn::nn::Lstm) for what is recorded, and for `batch_first`.
///
/// # Shapes
///
/// - sequences: `[M, T, d_input]`, or `[T, M, d_input]` if `batch_first` is off
/// - state: `[2, M, d_hidden]`
/// - output: `[M, T, 2 * d_hidden]`, or `[T, M, 2 * d_hidden]`, and the last state
///
/// ```
/// use burn::nn::BiRnnConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let rnn = BiRnnConfig::new(8, 16, true).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// let (y, state) = rnn.forward_recorded((x, None));
/// assert_eq!(y.dims(), [4, 7, 32]);
/// assert_eq!(state.hidden.dims(), [2, 4, 16]);
/// ```
impl ForwardRecorded<(Tensor<3>, Option<RnnState<3>>)> for BiRnn {
    type Output = (Tensor<3>, RnnState<3>);

    fn forward_recorded(&self, (input, state): (Tensor<3>, Option<RnnState<3>>)) -> Self::Output {
        if let Some(output) = empty_output(&input, self.batch_first, 2 * self.d_hidden) {
            let state = without_samples([2, 0, self.d_hidden], &input);
            return (output, RnnState::new(state));
        }
        let Some(recorder) = recorder() else {
            return self.forward(input, state);
        };
        let input = recorder.batch(batch_first(input, self.batch_first));
        let state_of = |index| {
            let state = state.as_ref();
            state.map(|state| direction(state.hidden.clone(), index))
        };
        let first = (input.clone(), state_of(0).map(RnnState::new));
        let (forward, state_forward) = self.forward.forward_recorded(first);
        let (reverse, state_reverse) = run(&self.reverse, &recorder, input, state_of(1), true);
        let output = Tensor::cat(vec![forward, reverse], 2);
        let state = Tensor::stack(vec![state_forward.hidden, state_reverse], 0);
        (batch_first(output, self.batch_first), RnnState::new(state))
    }
}

/// The outputs `[M, T, d_hidden]` and the last state for an input `[M, T, d_input]`.
fn run(
    rnn: &Rnn,
    recorder: &Recorder,
    input: Tensor<3>,
    state: Option<Tensor<2>>,
    reverse: bool,
) -> (Tensor<3>, Tensor<2>) {
    let width = rnn.d_hidden;
    let steps = input.dims()[1];
    let mut hidden = initial(recorder, state, &input, width);
    if steps == 0 {
        return (outputs(Vec::new(), &input, width), hidden);
    }
    let mut gates = Gates::new(recorder, vec![Gate::from(&rnn.gate)], width, input.clone());
    let weights = gates.hidden_weights(0..1);

    let mut trace = Trace::with_steps(steps);
    for sums in visited(gates.sums(), reverse) {
        trace.before.push(hidden.clone());
        let sums = sums + hidden.matmul(weights.clone());
        hidden = rnn.hidden_activation.forward(sums);
        if let Some(clip) = rnn.clip {
            hidden = hidden.clamp(-clip, clip);
        }
        trace.outputs.push(hidden.clone());
    }
    let trace = trace.ordered(reverse);
    if gates.trains {
        gates.record_inputs();
        gates.record_hidden(0, &stacked(&trace.before), None);
    }
    (outputs(trace.outputs, &input, width), hidden)
}
