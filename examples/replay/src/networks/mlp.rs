//! `fc_k(relu(… relu(fc1 x)))`, of any widths and depth.

use std::ops::Range;

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn_ief::nn::ForwardRecorded;

use super::Network;
use crate::case::Case;
use crate::error::Error;
use crate::place::Place;
use crate::weights::Weights;

/// Linear layers `fc1`, `fc2`, … with ReLU between.
#[derive(Module, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Network for Mlp {
    type Input = Tensor<2>;

    const INPUTS: &'static [&'static str] = &["input.x"];

    fn build(weights: &mut Weights<'_>, _case: &Case) -> Result<Self, Error> {
        let mut layers = vec![weights.linear("fc1", None, None)?];
        let mut width = layers[0].weight.dims()[1];
        for number in 2.. {
            let name = format!("fc{number}");
            if !weights.has(&format!("{name}.weight")) {
                break;
            }
            let layer = weights.linear(&name, Some(width), None)?;
            width = layer.weight.dims()[1];
            layers.push(layer);
        }
        Ok(Self { layers })
    }

    fn input(&self, case: &Case, place: &Place, samples: usize) -> Result<Tensor<2>, Error> {
        let [width, _] = self.layers[0].weight.dims();
        let x = case.floats("input.x", &[Some(samples), Some(width)])?;
        Ok(place.tensor(x, [samples, width]))
    }

    fn part(input: &Tensor<2>, samples: Range<usize>) -> Tensor<2> {
        input.clone().narrow(0, samples.start, samples.len())
    }

    fn logits(&self, input: Tensor<2>) -> Tensor<2> {
        let (last, hidden) = self.layers.split_last().expect("there is an `fc1`");
        let x = hidden
            .iter()
            .fold(input, |x, layer| relu(layer.forward_recorded(x)));
        last.forward_recorded(x)
    }

    fn classes(&self) -> usize {
        let last = self.layers.last().expect("there is an `fc1`");
        last.weight.dims()[1]
    }
}
