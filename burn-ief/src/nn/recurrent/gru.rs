//! Burn's gated recurrent unit (GRU), in one and in two directions.

use burn::nn::gru::{BiGru, Gru};
use burn::tensor::Tensor;

use super::gates::{Gate, Gates};
use super::{Trace, batch_first, direction, empty_output, initial, outputs, stacked, visited};
use crate::nn::ForwardRecorded;
use crate::record::{Recorder, recorder, without_samples};

/// The places of the gates.
const UPDATE: usize = 0;
const RESET: usize = 1;
const CANDIDATE: usize = 2;

/// Records the linear layers of every gate, each once for all time steps.
///
/// The input is what Burn's `forward` takes: the sequences, and the state to begin with or `None`
/// for zeros. Both conventions of the reset gate are supported, as `reset_after` says. See
/// [`Lstm`](burn::nn::Lstm) for adapters and activations.
///
/// # Shapes
///
/// - sequences: `[M, T, d_input]`
/// - state: `[M, d_hidden]`
/// - output: `[M, T, d_hidden]`
///
/// ```
/// use burn::nn::gru::GruConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let gru = GruConfig::new(8, 16, true).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// assert_eq!(gru.forward_recorded((x, None)).dims(), [4, 7, 16]);
/// ```
impl ForwardRecorded<(Tensor<3>, Option<Tensor<2>>)> for Gru {
    type Output = Tensor<3>;

    fn forward_recorded(&self, (input, state): (Tensor<3>, Option<Tensor<2>>)) -> Tensor<3> {
        if let Some(output) = empty_output(&input, true, self.d_hidden) {
            return output;
        }
        let Some(recorder) = recorder() else {
            return self.forward(input, state);
        };
        let input = recorder.batch(input);
        run(self, &recorder, input, state, false).0
    }
}

/// Records the layers of both directions.
///
/// See [`Gru`] for what is recorded, and [`Lstm`](burn::nn::Lstm) for `batch_first`.
///
/// # Shapes
///
/// - sequences: `[M, T, d_input]`, or `[T, M, d_input]` if `batch_first` is off
/// - state: `[2, M, d_hidden]`
/// - output: `[M, T, 2 * d_hidden]`, or `[T, M, 2 * d_hidden]`, and the last state
///
/// ```
/// use burn::nn::gru::BiGruConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let gru = BiGruConfig::new(8, 16, true).init(&device);
/// let x = Tensor::<3>::ones([4, 7, 8], &device);
/// let (y, state) = gru.forward_recorded((x, None));
/// assert_eq!(y.dims(), [4, 7, 32]);
/// assert_eq!(state.dims(), [2, 4, 16]);
/// ```
impl ForwardRecorded<(Tensor<3>, Option<Tensor<3>>)> for BiGru {
    type Output = (Tensor<3>, Tensor<3>);

    fn forward_recorded(&self, (input, state): (Tensor<3>, Option<Tensor<3>>)) -> Self::Output {
        if let Some(output) = empty_output(&input, self.batch_first, 2 * self.d_hidden) {
            return (output, without_samples([2, 0, self.d_hidden], &input));
        }
        let Some(recorder) = recorder() else {
            return self.forward(input, state);
        };
        let input = recorder.batch(batch_first(input, self.batch_first));
        let direction = |layer, index, reverse| {
            let state = state.clone().map(|state| direction(state, index));
            run(layer, &recorder, input.clone(), state, reverse)
        };
        let (forward, state_forward) = direction(&self.forward, 0, false);
        let (reverse, state_reverse) = direction(&self.reverse, 1, true);
        let output = Tensor::cat(vec![forward, reverse], 2);
        let state = Tensor::stack(vec![state_forward, state_reverse], 0);
        (batch_first(output, self.batch_first), state)
    }
}

/// The outputs `[M, T, d_hidden]` and the last state for an input `[M, T, d_input]`.
fn run(
    gru: &Gru,
    recorder: &Recorder,
    input: Tensor<3>,
    state: Option<Tensor<2>>,
    reverse: bool,
) -> (Tensor<3>, Tensor<2>) {
    let width = gru.d_hidden;
    let steps = input.dims()[1];
    let mut hidden = initial(recorder, state, &input, width);
    if steps == 0 {
        return (outputs(Vec::new(), &input, width), hidden);
    }
    let candidate = Gate {
        controller: &gru.new_gate,
        adds_hidden_bias: !gru.reset_after,
    };
    let gates = vec![
        Gate::from(&gru.update_gate),
        Gate::from(&gru.reset_gate),
        candidate,
    ];
    let mut gates = Gates::new(recorder, gates, width, input.clone());
    let weights = gates.hidden_weights(UPDATE..CANDIDATE);
    let candidate_weight = gates.hidden_weights(CANDIDATE..CANDIDATE + 1);
    let candidate_bias = gates.hidden_bias(CANDIDATE).filter(|_| gru.reset_after);

    let mut trace = Trace::with_steps(steps);
    let mut resets = Vec::with_capacity(steps);
    // What the candidate's weight of the hidden state was multiplied with.
    let mut candidate_states = Vec::with_capacity(steps);
    for sums in visited(gates.sums(), reverse) {
        trace.before.push(hidden.clone());
        let product = hidden.clone().matmul(weights.clone());
        let gate = |index| {
            let sum = gates.columns(sums.clone(), index) + gates.columns(product.clone(), index);
            gru.gate_activation.forward(sum)
        };
        let (update, reset) = (gate(UPDATE), gate(RESET));
        let hidden_part = if gru.reset_after {
            let product = hidden.clone().matmul(candidate_weight.clone());
            let product = match &candidate_bias {
                Some(bias) => product + bias.clone().unsqueeze(),
                None => product,
            };
            resets.push(reset.clone());
            reset * product
        } else {
            let state = hidden.clone() * reset;
            candidate_states.push(state.clone());
            state.matmul(candidate_weight.clone())
        };
        let sum = gates.columns(sums, CANDIDATE) + hidden_part;
        let candidate = gru.hidden_activation.forward(sum);
        // h' = (1 - z) n + z h
        let rest = update.clone().neg().add_scalar(1.0);
        hidden = candidate * rest + update * hidden;
        if let Some(clip) = gru.clip {
            hidden = hidden.clamp(-clip, clip);
        }
        trace.outputs.push(hidden.clone());
    }
    let trace = trace.ordered(reverse);
    if gates.trains {
        gates.record_inputs();
        let states = stacked(&trace.before);
        gates.record_hidden(UPDATE, &states, None);
        gates.record_hidden(RESET, &states, None);
        if gru.reset_after {
            let resets = stacked(&visited(resets, reverse));
            gates.record_hidden(CANDIDATE, &states, Some(resets));
        } else {
            let states = stacked(&visited(candidate_states, reverse));
            gates.record_hidden(CANDIDATE, &states, None);
        }
    }
    (outputs(trace.outputs, &input, width), hidden)
}
