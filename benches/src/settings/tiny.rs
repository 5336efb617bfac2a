//! A model so small that the fixed cost of a step shows.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::{Classifier, Sizes};
use crate::call::Call;
use crate::operations::Operations;

const INPUT: usize = 2;
const HIDDEN: usize = 64;
const CLASSES: usize = 3;

const PARAMETERS: usize = (INPUT + 1) * HIDDEN + (HIDDEN + 1) * CLASSES;

pub(super) const SIZES: Sizes = Sizes {
    parameters: PARAMETERS,
    trainable: PARAMETERS,
    largest: HIDDEN * CLASSES,
    // The input, and what goes into and out of ReLU.
    activations: INPUT + 2 * HIDDEN + CLASSES,
};

/// 2-64-3 with ReLU and biases.
#[derive(Module, Debug)]
pub struct Tiny {
    first: Linear,
    last: Linear,
}

impl Classifier for Tiny {
    /// Nothing here has a fused form.
    fn new(device: &Device, _operations: Operations) -> Self {
        Self {
            first: LinearConfig::new(INPUT, HIDDEN).init(device),
            last: LinearConfig::new(HIDDEN, CLASSES).init(device),
        }
    }

    const INPUT: [usize; 2] = [1, INPUT];
    const CLASSES: usize = CLASSES;

    fn logits(&self, x: Tensor<3>, call: &Call) -> Tensor<2> {
        let x = relu(call.linear(&self.first, x));
        call.linear(&self.last, x).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_has_the_sizes_that_memory_is_predicted_from() {
        let _random = crate::settings::random_state();
        let model = Tiny::new(&Device::flex().autodiff(), Operations::Fused);
        assert_eq!(model.num_params(), SIZES.parameters);
    }
}
