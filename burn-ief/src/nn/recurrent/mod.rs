//! Recurrent layers.
//!
//! Inside a recording, a layer computes the input products of all time steps at once and runs its
//! steps on [`Gates`]. Outside of one it is Burn's own `forward`.

mod gates;
mod gru;
mod lstm;
mod rnn;

use burn::tensor::Tensor;

use crate::record::{Recorder, constant, is_empty_batch, without_samples};

/// The outputs of all time steps and the hidden states before them.
#[derive(Default)]
struct Trace {
    before: Vec<Tensor<2>>,
    outputs: Vec<Tensor<2>>,
}

impl Trace {
    fn with_steps(steps: usize) -> Self {
        Self {
            before: Vec::with_capacity(steps),
            outputs: Vec::with_capacity(steps),
        }
    }

    /// Bring the steps into the order of time if the layer ran backwards.
    fn ordered(mut self, reverse: bool) -> Self {
        if reverse {
            self.before.reverse();
            self.outputs.reverse();
        }
        self
    }
}

/// `T` tensors `[M, d]` to `[M, T, d]`, off the graph.
fn stacked(steps: &[Tensor<2>]) -> Tensor<3> {
    Tensor::stack(steps.iter().map(constant).collect(), 1)
}

/// The items in the order in which a layer visits them.
fn visited<T>(mut items: Vec<T>, reverse: bool) -> Vec<T> {
    if reverse {
        items.reverse();
    }
    items
}

/// The initial state of a direction: the given one for every copy of the batch, or zeros. A state of
/// one row is that of every sample, as in Burn.
fn initial(
    recorder: &Recorder,
    state: Option<Tensor<2>>,
    input: &Tensor<3>,
    width: usize,
) -> Tensor<2> {
    let batch = input.dims()[0];
    match state {
        Some(state) if state.dims()[0] == 1 => state.expand([batch as i64, -1]),
        Some(state) => recorder.batch(state),
        None => Tensor::zeros([batch, width], (&input.device(), input.dtype())),
    }
}

/// The outputs `[M, T, d_hidden]` of all steps.
fn outputs(steps: Vec<Tensor<2>>, input: &Tensor<3>, width: usize) -> Tensor<3> {
    if steps.is_empty() {
        let batch = input.dims()[0];
        return Tensor::zeros([batch, 0, width], (&input.device(), input.dtype()));
    }
    Tensor::stack(steps, 1)
}

/// One direction of the two in a state `[2, M, d_hidden]`.
fn direction(state: Tensor<3>, index: usize) -> Tensor<2> {
    state.narrow(0, index, 1).squeeze_dim(0)
}

/// Exchange batch and time unless the batch comes first.
fn batch_first(x: Tensor<3>, already: bool) -> Tensor<3> {
    if already { x } else { x.swap_dims(0, 1) }
}

/// The output of an empty batch for a layer of this output width, if the batch of `input` is empty.
fn empty_output(input: &Tensor<3>, first: bool, width: usize) -> Option<Tensor<3>> {
    let mut dims = input.dims();
    if !is_empty_batch(dims[usize::from(!first)]) {
        return None;
    }
    dims[2] = width;
    Some(without_samples(dims, input))
}
