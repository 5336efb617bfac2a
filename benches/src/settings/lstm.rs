//! A stack of two of Burn's LSTM layers.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Lstm, LstmConfig};
use burn::tensor::{Device, Tensor};

use super::{Classifier, Sizes};
use crate::call::Call;
use crate::operations::Operations;

const POSITIONS: usize = 50;
const INPUT: usize = 1;
const HIDDEN: usize = 64;
const CLASSES: usize = 10;

const fn layer(input: usize) -> usize {
    4 * ((input + 1) * HIDDEN + (HIDDEN + 1) * HIDDEN)
}

const PARAMETERS: usize = layer(INPUT) + layer(HIDDEN) + (HIDDEN + 1) * CLASSES;

pub(super) const SIZES: Sizes = Sizes {
    parameters: PARAMETERS,
    trainable: PARAMETERS,
    largest: HIDDEN * HIDDEN,
    // Per layer and position: sums and values of four gates, cell, its tanh, products and output.
    activations: 2 * POSITIONS * 14 * HIDDEN,
};

/// Sequences of 50 numbers through two layers of 64 units and a head on the last step.
#[derive(Module, Debug)]
pub struct Recurrent {
    first: Lstm,
    second: Lstm,
    head: Linear,
}

impl Classifier for Recurrent {
    /// Nothing here has a fused form.
    fn new(device: &Device, _operations: Operations) -> Self {
        Self {
            first: LstmConfig::new(INPUT, HIDDEN, true).init(device),
            second: LstmConfig::new(HIDDEN, HIDDEN, true).init(device),
            head: LinearConfig::new(HIDDEN, CLASSES).init(device),
        }
    }

    const INPUT: [usize; 2] = [POSITIONS, INPUT];
    const CLASSES: usize = CLASSES;

    fn logits(&self, x: Tensor<3>, call: &Call) -> Tensor<2> {
        let x = call.lstm(&self.first, x);
        let x = call.lstm(&self.second, x);
        let last = x.narrow(1, POSITIONS - 1, 1);
        call.linear(&self.head, last).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_has_the_sizes_that_memory_is_predicted_from() {
        let _random = crate::settings::random_state();
        let model = Recurrent::new(&Device::flex().autodiff(), Operations::Fused);
        assert_eq!(model.num_params(), SIZES.parameters);
    }
}
