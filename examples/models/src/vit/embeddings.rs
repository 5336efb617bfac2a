//! Patches, class token and position embeddings.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Dropout, DropoutConfig, Initializer};
use burn::tensor::{Device, Tensor};
use burn_ief::nn::{ForwardRecorded, expand_param};
use burn_ief::recorder;
use burn_peft::ForwardAdapted;

use super::positions::resizing;
use crate::encoder::initial_normal;
use crate::error::Error;

/// Sizes of [`ViTEmbeddings`].
pub(super) struct Sizes {
    pub width: usize,
    pub channels: usize,
    pub image: [usize; 2],
    pub patch: [usize; 2],
    pub dropout: f64,
    pub initializer_range: f64,
}

/// From an image to a class token and a token for each patch.
#[derive(Module, Debug)]
pub struct ViTEmbeddings {
    /// `[1, 1, d]`.
    pub cls_token: Param<Tensor<3>>,
    /// `[1, 1 + patches, d]`.
    pub position_embeddings: Param<Tensor<3>>,
    /// Linear map of each patch.
    pub patch_embeddings: ViTPatchEmbeddings,
    dropout: Dropout,
    image: [usize; 2],
}

/// A convolution whose windows are the patches.
#[derive(Module, Debug)]
pub struct ViTPatchEmbeddings {
    /// channels → d.
    pub projection: Conv2d,
}

impl ViTEmbeddings {
    pub(super) fn new(sizes: &Sizes, device: &Device) -> Self {
        let (d, initializer) = (sizes.width, initial_normal(sizes.initializer_range));
        let projection = Conv2dConfig::new([sizes.channels, d], sizes.patch)
            .with_stride(sizes.patch)
            .with_bias(false)
            .with_initializer(initializer.clone())
            .init(device);
        let projection = Conv2d {
            bias: Some(Initializer::Zeros.init([d], device)),
            ..projection
        };
        let [rows, columns] = grid(sizes.image, sizes.patch);
        Self {
            cls_token: initializer.init([1, 1, d], device),
            position_embeddings: initializer.init([1, 1 + rows * columns, d], device),
            patch_embeddings: ViTPatchEmbeddings { projection },
            dropout: DropoutConfig::new(sizes.dropout).init(),
            image: sizes.image,
        }
    }

    /// Embed a batch of images.
    ///
    /// # Shapes
    ///
    /// - pixels: `[M, channels, height, width]`
    /// - output: `[M, 1 + patches, d]`
    pub(super) fn forward(&self, pixels: Tensor<4>, interpolate: bool) -> Result<Tensor<3>, Error> {
        let grid = self.check(&pixels, interpolate)?;
        let patches = self.patch_embeddings.projection.forward_adapted(pixels);
        let [batch, d, rows, columns] = patches.dims();
        let patches = patches.reshape([batch, d, rows * columns]).swap_dims(1, 2);
        let class = expand_param::<_, 3>(&self.cls_token, batch);
        let tokens = Tensor::cat(vec![class, patches], 1);
        Ok(self
            .dropout
            .forward_recorded(tokens + self.positions(batch, grid)))
    }

    /// Position embeddings of a grid of patches, `[batch, 1 + patches, d]`.
    fn positions(&self, batch: usize, to: [usize; 2]) -> Tensor<3> {
        let from = grid(self.image, self.patch());
        if from == to {
            return expand_param(&self.position_embeddings, batch);
        }
        // Resized once for all samples, unless each of them has its own copy to record.
        let recorded = recorder().is_some() && self.position_embeddings.is_require_grad();
        let positions = if recorded {
            expand_param(&self.position_embeddings, batch)
        } else {
            self.position_embeddings.val()
        };
        let [copies, length, d] = positions.dims();
        let options = (&positions.device(), positions.dtype());
        let matrix = resizing(from, to, options).unsqueeze::<3>();
        let [_, rows, columns] = matrix.dims();
        let class = positions.clone().narrow(1, 0, 1);
        let patches = positions.narrow(1, 1, length - 1);
        let patches = matrix.expand([copies, rows, columns]).matmul(patches);
        Tensor::cat(vec![class, patches], 1).expand([batch, 1 + rows, d])
    }

    fn patch(&self) -> [usize; 2] {
        self.patch_embeddings.projection.kernel_size
    }

    /// Check the shape of the images; the grid of their patches.
    fn check(&self, pixels: &Tensor<4>, interpolate: bool) -> Result<[usize; 2], Error> {
        let [batch, channels, height, width] = pixels.dims();
        let [_, expected, _, _] = self.patch_embeddings.projection.weight.shape().dims();
        let found = grid([height, width], self.patch());
        let [rows, columns] = self.image;
        let reason = match () {
            () if batch == 0 => "expected at least one image, found none".into(),
            () if channels != expected => format!("{channels} channels, expected {expected}"),
            () if !interpolate && [height, width] != self.image => format!(
                "{height} × {width} pixels, expected {rows} × {columns} or interpolated positions"
            ),
            () if found.contains(&0) => {
                format!(
                    "{height} × {width} pixels, less than a patch of {:?}",
                    self.patch()
                )
            }
            () => return Ok(found),
        };
        Err(Error::Input {
            name: "pixel_values",
            reason,
        })
    }
}

/// Patches along both sides.
fn grid(image: [usize; 2], patch: [usize; 2]) -> [usize; 2] {
    [image[0] / patch[0], image[1] / patch[1]]
}
