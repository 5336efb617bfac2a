//! A small convolutional network.

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use burn_ief::nn::ForwardRecorded;

/// Sizes of a [`Cnn`].
#[derive(Config, Debug)]
pub struct CnnConfig {
    /// Channels of a picture.
    pub channels: usize,
    /// Pixels along one side of a picture.
    pub side: usize,
    /// Channels after each convolution.
    pub widths: Vec<usize>,
    /// Classes.
    pub classes: usize,
}

/// Convolutions of 3 × 3 pixels, each with ReLU and a pooling layer that halves the sides, and a linear head.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use tasks::models::CnnConfig;
///
/// let device = Device::flex().autodiff();
/// let model = CnnConfig::new(3, 8, vec![4, 6], 10).init(&device);
/// let pixels = Tensor::<2>::zeros([5, 3 * 8 * 8], &device);
/// assert_eq!(model.forward(pixels).dims(), [5, 10]);
/// ```
#[derive(Module, Debug)]
pub struct Cnn {
    convolutions: Vec<Conv2d>,
    pool: MaxPool2d,
    head: Linear,
    channels: usize,
    side: usize,
}

impl CnnConfig {
    /// A new model with random parameters.
    pub fn init(&self, device: &Device) -> Cnn {
        let inputs = std::iter::once(self.channels).chain(self.widths.iter().copied());
        let convolution = |(from, &to): (usize, &usize)| {
            Conv2dConfig::new([from, to], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device)
        };
        let last = self.widths.last().copied().unwrap_or(self.channels);
        let side = self.side >> self.widths.len();
        Cnn {
            convolutions: inputs.zip(&self.widths).map(convolution).collect(),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            head: LinearConfig::new(last * side * side, self.classes).init(device),
            channels: self.channels,
            side: self.side,
        }
    }
}

impl Cnn {
    /// Pixels `[M, channels * side * side]` to logits `[M, classes]`.
    pub fn forward(&self, pixels: Tensor<2>) -> Tensor<2> {
        let [m, _] = pixels.dims();
        let mut x: Tensor<4> = pixels.reshape([m, self.channels, self.side, self.side]);
        for convolution in &self.convolutions {
            x = self.pool.forward(relu(convolution.forward_recorded(x)));
        }
        self.head.forward_recorded(x.flatten::<2>(1, 3))
    }
}
