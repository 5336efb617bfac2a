//! conv 3x3 (padding 1), ReLU, max pool 2x2, conv 3x3, ReLU, mean over the map, linear.

use std::ops::Range;

use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn_ief::nn::ForwardRecorded;

use super::Network;
use crate::case::Case;
use crate::error::Error;
use crate::place::Place;
use crate::weights::Weights;

/// A small CNN, of any channel counts and image size.
#[derive(Module, Debug)]
pub struct Cnn {
    conv1: Conv2d,
    pool: MaxPool2d,
    conv2: Conv2d,
    fc: Linear,
}

/// Smallest image side: after pooling, one position is left for the second convolution.
const SMALLEST: usize = 6;

impl Network for Cnn {
    type Input = Tensor<4>;

    const INPUTS: &'static [&'static str] = &["input.x"];

    fn build(weights: &mut Weights<'_>, case: &Case) -> Result<Self, Error> {
        let channels = match case.shape("input.x")? {
            &[_, channels, _, _] => channels,
            other => {
                return Err(Error::Shape {
                    tensor: "input.x".into(),
                    expected: "[?, ?, ?, ?]".into(),
                    found: other.into(),
                });
            }
        };
        let conv1 = weights.conv("conv1", channels, PaddingConfig2d::Explicit(1, 1, 1, 1))?;
        let conv2 = weights.conv("conv2", conv1.weight.dims()[0], PaddingConfig2d::Valid)?;
        let fc = weights.linear("fc", Some(conv2.weight.dims()[0]), None)?;
        Ok(Self {
            conv1,
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            conv2,
            fc,
        })
    }

    fn input(&self, case: &Case, place: &Place, samples: usize) -> Result<Tensor<4>, Error> {
        let channels = self.conv1.weight.dims()[1];
        let shape = [Some(samples), Some(channels), None, None];
        let x = case.floats("input.x", &shape)?;
        let mut own = [0; 4];
        own.copy_from_slice(case.shape("input.x")?);
        if own[2] >= SMALLEST && own[3] >= SMALLEST {
            Ok(place.tensor(x, own))
        } else {
            Err(Error::Shape {
                tensor: "input.x".into(),
                expected: format!("images of at least {SMALLEST} x {SMALLEST}"),
                found: own.into(),
            })
        }
    }

    fn part(input: &Tensor<4>, samples: Range<usize>) -> Tensor<4> {
        input.clone().narrow(0, samples.start, samples.len())
    }

    fn logits(&self, input: Tensor<4>) -> Tensor<2> {
        let x = relu(self.conv1.forward_recorded(input));
        let x = self.pool.forward(x);
        let x = relu(self.conv2.forward_recorded(x));
        let [samples, channels, height, width] = x.dims();
        let x = x.reshape([samples, channels, height * width]);
        self.fc.forward_recorded(x.mean_dim(2).squeeze_dim(2))
    }

    fn classes(&self) -> usize {
        self.fc.weight.dims()[1]
    }
}
