//! The MLP of the paper's CIFAR-10 runs.

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::{Classifier, Sizes};
use crate::call::Call;
use crate::operations::Operations;

const INPUT: usize = 3072;
const HIDDEN: usize = 2048;
const CLASSES: usize = 10;

const PARAMETERS: usize = (INPUT + 1) * HIDDEN + (HIDDEN + 1) * HIDDEN + (HIDDEN + 1) * CLASSES;

pub(super) const SIZES: Sizes = Sizes {
    parameters: PARAMETERS,
    trainable: PARAMETERS,
    largest: INPUT * HIDDEN,
    // The input, and of each hidden layer what goes into and out of ReLU.
    activations: INPUT + 4 * HIDDEN + CLASSES,
};

/// 3072-2048-2048-10 with ReLU and biases.
#[derive(Module, Debug)]
pub struct Mlp {
    first: Linear,
    hidden: Linear,
    last: Linear,
}

impl Classifier for Mlp {
    /// ReLU has no fused form.
    fn new(device: &Device, _operations: Operations) -> Self {
        Self {
            first: LinearConfig::new(INPUT, HIDDEN).init(device),
            hidden: LinearConfig::new(HIDDEN, HIDDEN).init(device),
            last: LinearConfig::new(HIDDEN, CLASSES).init(device),
        }
    }

    const INPUT: [usize; 2] = [1, INPUT];
    const CLASSES: usize = CLASSES;

    fn logits(&self, x: Tensor<3>, call: &Call) -> Tensor<2> {
        let x = relu(call.linear(&self.first, x));
        let x = relu(call.linear(&self.hidden, x));
        call.linear(&self.last, x).squeeze_dim(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_has_the_sizes_that_memory_is_predicted_from() {
        let _random = crate::settings::random_state();
        let model = Mlp::new(&Device::flex().autodiff(), Operations::Fused);
        assert_eq!(model.num_params(), SIZES.parameters);
        // The paper's count.
        assert_eq!(SIZES.trainable, 10_510_346);
    }
}
