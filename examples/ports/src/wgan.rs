//! `wgan`: the discriminator (critic) of a Wasserstein GAN on MNIST. The generator, which has BatchNorm and is
//! trained through the discriminator, keeps the example's optimizer.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::{
    BatchNorm, BatchNormConfig, LeakyRelu, LeakyReluConfig, Linear, LinearConfig, Tanh,
};
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::prelude::*;

use crate::batch::{Batch, indices};
use crate::port::{Evaluation, Form, Port};

/// Side of an image.
pub const SIDE: usize = 28;
/// Width of the noise that the generator reads.
pub const LATENT: usize = 100;
/// The weights of the discriminator stay within this distance of 0.
pub const CLIP: f32 = 0.01;

/// As many real images as made ones.
#[derive(Debug, Clone)]
pub struct Pairs {
    /// `[M, 1, 28, 28]`.
    pub real: Tensor<4>,
    /// `[M, 1, 28, 28]`.
    pub made: Tensor<4>,
}

impl Batch for Pairs {
    fn samples(&self) -> usize {
        self.real.dims()[0]
    }

    fn select(&self, places: &[usize]) -> Self {
        let places = indices(places, &self.real.device());
        Self {
            real: self.real.clone().select(0, places.clone()),
            made: self.made.clone().select(0, places),
        }
    }
}

/// 784-512-256-1 with leaky ReLU.
#[derive(Module, Debug)]
pub struct Discriminator {
    fc1: Linear,
    leakyrelu1: LeakyRelu,
    fc2: Linear,
    leakyrelu2: LeakyRelu,
    fc3: Linear,
}

impl Discriminator {
    /// A new discriminator.
    pub fn new(device: &Device) -> Self {
        let leaky = || LeakyReluConfig::new().with_negative_slope(0.2).init();
        Self {
            fc1: LinearConfig::new(SIDE * SIDE, 512).init(device),
            leakyrelu1: leaky(),
            fc2: LinearConfig::new(512, 256).init(device),
            leakyrelu2: leaky(),
            fc3: LinearConfig::new(256, 1).init(device),
        }
    }

    /// Images `[M, 1, 28, 28]` to scores `[M, 1]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.fc1.forward(images.flatten(1, 3));
        let x = self.fc2.forward(self.leakyrelu1.forward(x));
        self.fc3.forward(self.leakyrelu2.forward(x))
    }

    /// [`forward`](Self::forward), recorded.
    pub fn forward_recorded(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.fc1.forward_recorded(images.flatten(1, 3));
        let x = self.fc2.forward_recorded(self.leakyrelu1.forward(x));
        self.fc3.forward_recorded(self.leakyrelu2.forward(x))
    }

    /// How much better the made images score than the real ones.
    pub fn loss(&self, batch: Pairs) -> Tensor<1> {
        let real = self.forward(batch.real);
        let made = self.forward(batch.made);
        -real.mean() + made.mean()
    }

    /// [`loss`](Self::loss), recorded. A pair of images is a sample, and a call of the discriminator one use.
    pub fn loss_recorded(&self, batch: Pairs) -> Tensor<1> {
        let real = mark_output(self.forward_recorded(batch.real));
        let made = mark_output(self.forward_recorded(batch.made));
        -real.mean() + made.mean()
    }

    /// With all parameters between `-CLIP` and `CLIP`.
    pub fn clipped(self) -> Self {
        self.map(&mut Clip)
    }
}

struct Clip;

impl ModuleMapper for Clip {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.inner().clamp(-CLIP, CLIP).autodiff().require_grad())
    }
}

/// A linear layer, BatchNorm and leaky ReLU.
#[derive(Module, Debug)]
struct LayerBlock {
    fc: Linear,
    bn: BatchNorm,
    leakyrelu: LeakyRelu,
}

impl LayerBlock {
    fn new(input: usize, output: usize, device: &Device) -> Self {
        Self {
            fc: LinearConfig::new(input, output).init(device),
            bn: BatchNormConfig::new(output).with_epsilon(0.8).init(device),
            leakyrelu: LeakyReluConfig::new().with_negative_slope(0.2).init(),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.leakyrelu.forward(self.bn.forward(self.fc.forward(x)))
    }
}

/// Noise to images.
#[derive(Module, Debug)]
pub struct Generator {
    layers: Vec<LayerBlock>,
    fc: Linear,
    tanh: Tanh,
}

impl Generator {
    /// A new generator.
    pub fn new(device: &Device) -> Self {
        let widths = [LATENT, 128, 256, 512, 1024];
        let layers = widths.windows(2);
        Self {
            layers: layers
                .map(|pair| LayerBlock::new(pair[0], pair[1], device))
                .collect(),
            fc: LinearConfig::new(1024, SIDE * SIDE).init(device),
            tanh: Tanh::new(),
        }
    }

    /// Noise `[M, 100]` to images `[M, 1, 28, 28]`.
    pub fn forward(&self, noise: Tensor<2>) -> Tensor<4> {
        let [samples, _] = noise.dims();
        let x = self.layers.iter().fold(noise, |x, layer| layer.forward(x));
        let images = self.tanh.forward(self.fc.forward(x));
        images.reshape([samples, 1, SIDE, SIDE])
    }
}

/// The discriminator of the example `wgan`.
#[derive(Debug)]
pub struct Wgan;

impl Port for Wgan {
    type Model = Discriminator;
    type Batch = Pairs;

    const NAME: &'static str = "wgan";
    const BATCH: usize = 512;
    const CLASSIFIES: bool = false;

    fn model(_form: Form, device: &Device) -> Discriminator {
        Discriminator::new(device)
    }

    fn random_batch(samples: usize, device: &Device) -> Pairs {
        let images = || {
            let shape = [samples, 1, SIDE, SIDE];
            Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
        };
        Pairs {
            real: images(),
            made: images(),
        }
    }

    fn loss(model: &Discriminator, batch: Pairs) -> Tensor<1> {
        model.loss(batch)
    }

    fn loss_recorded(model: &Discriminator, batch: Pairs) -> Tensor<1> {
        model.loss_recorded(batch)
    }

    /// The weights are clipped.
    fn after_step(model: Discriminator) -> Discriminator {
        model.clipped()
    }

    fn evaluate(model: &Discriminator, batch: Pairs) -> Evaluation {
        let model = model.valid();
        let [made, real] = [batch.made, batch.real].map(|images| model.forward(images.inner()));
        Evaluation::of_losses(made - real)
    }
}
