//! A small vision transformer, trained in full.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Distribution, Tensor};
use burn_ief::nn::{ForwardRecorded, expand_param};

use super::encoder::Encoder;

/// Sizes of a [`PictureTransformer`].
#[derive(Config, Debug)]
pub struct PictureTransformerConfig {
    /// Pixels along one side of a picture with one channel.
    pub side: usize,
    /// Pixels along one side of a patch, of which the side is a multiple.
    pub patch: usize,
    /// Classes.
    pub classes: usize,
    /// Width of a token.
    #[config(default = 64)]
    pub width: usize,
    /// Blocks.
    #[config(default = 4)]
    pub layers: usize,
}

/// Patches, a class token, positions, and an encoder.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use tasks::models::PictureTransformerConfig;
///
/// let device = Device::flex().autodiff();
/// let model = PictureTransformerConfig::new(8, 2, 10).init(&device);
/// let pixels = Tensor::<2>::zeros([3, 64], &device);
/// assert_eq!(model.forward(pixels).dims(), [3, 10]);
/// ```
#[derive(Module, Debug)]
pub struct PictureTransformer {
    patch_embedding: Linear,
    class_token: Param<Tensor<3>>,
    position: Param<Tensor<3>>,
    encoder: Encoder,
    side: usize,
    patch: usize,
}

impl PictureTransformerConfig {
    /// A new model with random parameters.
    pub fn init(&self, device: &Device) -> PictureTransformer {
        let patches = (self.side / self.patch).pow(2);
        let small = |shape| {
            let normal = Distribution::Normal(0.0, 0.02);
            Param::from_tensor(Tensor::<3>::random(shape, normal, device))
        };
        PictureTransformer {
            patch_embedding: LinearConfig::new(self.patch * self.patch, self.width).init(device),
            class_token: small([1, 1, self.width]),
            position: small([1, patches + 1, self.width]),
            encoder: Encoder::new(self.width, self.layers, self.classes, device),
            side: self.side,
            patch: self.patch,
        }
    }
}

impl PictureTransformer {
    /// Pixels `[M, side * side]` to logits `[M, classes]`.
    pub fn forward(&self, pixels: Tensor<2>) -> Tensor<2> {
        let (side, patch) = (self.side, self.patch);
        let (m, across) = (pixels.dims()[0], side / patch);
        let grid: Tensor<5> = pixels.reshape([m, across, patch, across, patch]);
        let patches = grid.permute([0, 1, 3, 2, 4]);
        let patches: Tensor<3> = patches.reshape([m, across * across, patch * patch]);
        let tokens = self.patch_embedding.forward_recorded(patches);
        let rows = tokens.dims()[0];
        let class = expand_param::<_, 3>(&self.class_token, rows);
        let position = expand_param::<_, 3>(&self.position, rows);
        let tokens = Tensor::cat(vec![class, tokens], 1) + position;
        self.encoder.forward(tokens, None)
    }
}
