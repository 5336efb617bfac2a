//! Cells that are called step by step, like those of Burn's example `modern-lstm`, with twice its width, more
//! steps and one direction.

use burn::module::Module;
use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor};

use super::{Classifier, Sizes};
use crate::call::Call;
use crate::operations::Operations;

const POSITIONS: usize = 50;
const INPUT: usize = 1;
const HIDDEN: usize = 64;
const CLASSES: usize = 10;

const fn cell(input: usize) -> usize {
    (input + 1 + HIDDEN + 1) * 4 * HIDDEN + 2 * (4 + 1 + 1) * HIDDEN
}

const PARAMETERS: usize = cell(INPUT) + cell(HIDDEN) + (HIDDEN + 1) * CLASSES;

pub(super) const SIZES: Sizes = Sizes {
    parameters: PARAMETERS,
    trainable: PARAMETERS,
    largest: 4 * HIDDEN * HIDDEN,
    // Per layer and position: four tensors of all gates, the gates, and the norms of cell and output.
    activations: 2 * POSITIONS * 32 * HIDDEN,
};

/// Sequences of 50 numbers through two layers of cells of 64 units, and a head on the last step. A cell
/// has one linear layer for the inputs of all gates, one for the hidden state, and three layer norms.
#[derive(Module, Debug)]
pub struct Cells {
    cells: Vec<Cell>,
    head: Linear,
}

#[derive(Module, Debug)]
struct Cell {
    input: Linear,
    hidden: Linear,
    norm_input: LayerNorm,
    norm_cell: LayerNorm,
    norm_output: LayerNorm,
}

impl Cell {
    fn new(input: usize, device: &Device) -> Self {
        let norm = |width| LayerNormConfig::new(width).init(device);
        Self {
            input: LinearConfig::new(input, 4 * HIDDEN).init(device),
            hidden: LinearConfig::new(HIDDEN, 4 * HIDDEN).init(device),
            norm_input: norm(4 * HIDDEN),
            norm_cell: norm(HIDDEN),
            norm_output: norm(HIDDEN),
        }
    }

    /// One step: an input `[M, 1, i]` and the last state, to the new state.
    fn step(&self, x: Tensor<3>, state: State, call: &Call) -> State {
        let x = call.norm(&self.norm_input, call.linear(&self.input, x));
        let sums = x + call.linear(&self.hidden, state.hidden);
        let [input, forget, candidate, output] =
            [0, 1, 2, 3].map(|gate| sums.clone().narrow(2, gate * HIDDEN, HIDDEN));
        let cell = sigmoid(forget) * state.cell + sigmoid(input) * candidate.tanh();
        let cell = call.norm(&self.norm_cell, cell);
        let hidden = sigmoid(output) * cell.clone().tanh();
        State {
            hidden: call.norm(&self.norm_output, hidden),
            cell,
        }
    }
}

/// `[M, 1, HIDDEN]` each.
#[derive(Clone)]
struct State {
    hidden: Tensor<3>,
    cell: Tensor<3>,
}

impl Classifier for Cells {
    /// Nothing here has a fused form.
    fn new(device: &Device, _operations: Operations) -> Self {
        Self {
            cells: vec![Cell::new(INPUT, device), Cell::new(HIDDEN, device)],
            head: LinearConfig::new(HIDDEN, CLASSES).init(device),
        }
    }

    const INPUT: [usize; 2] = [POSITIONS, INPUT];
    const CLASSES: usize = CLASSES;

    fn logits(&self, x: Tensor<3>, call: &Call) -> Tensor<2> {
        let x = burn_ief::expand_input(x);
        let zeros = Tensor::zeros([x.dims()[0], 1, HIDDEN], &x.device());
        let zero = State {
            hidden: zeros.clone(),
            cell: zeros,
        };
        let mut states = vec![zero; self.cells.len()];
        for t in 0..POSITIONS {
            let mut x = x.clone().narrow(1, t, 1);
            for (cell, state) in self.cells.iter().zip(&mut states) {
                *state = cell.step(x, state.clone(), call);
                x = state.hidden.clone();
            }
        }
        let last = states.pop().expect("two layers").hidden;
        call.linear(&self.head, last).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_has_the_sizes_that_memory_is_predicted_from() {
        let _random = crate::settings::random_state();
        let model = Cells::new(&Device::flex().autodiff(), Operations::Fused);
        assert_eq!(model.num_params(), SIZES.parameters);
    }
}
