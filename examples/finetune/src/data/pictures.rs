//! Batches of pictures.

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
use image::imageops::{FilterType, resize};

use super::ImageExample;
use super::error::Error;
use super::label::classes;

/// Mean and deviation of ImageNet's pixels, which DINOv2 is trained with.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// A batch of M pictures of H × W pixels.
///
/// ```
/// use burn::data::dataloader::batcher::Batcher;
/// use burn::tensor::Device;
/// use finetune::data::{ImageBatch, ImageBatcher, ImageExample};
///
/// let batcher = ImageBatcher::new(4, [0.5; 3], [0.5; 3])?;
/// let white = ImageExample { pixels: vec![255; 2 * 2 * 3], height: 2, width: 2, label: 7 };
/// let batch: ImageBatch = batcher.batch(vec![white], &Device::flex());
/// assert_eq!(batch.pixels.dims(), [1, 3, 4, 4]);
/// assert_eq!(batch.pixels.max().into_scalar::<f32>(), 1.0);
/// # Ok::<(), finetune::data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageBatch {
    /// Red, green and blue, normalised, `[M, 3, H, W]`.
    pub pixels: Tensor<4>,
    /// Classes, `[M]`.
    pub labels: Tensor<1, Int>,
}

/// Scales pictures to one size and normalises them: (value / 255 − mean) / std for each colour.
///
/// Pictures of another size are scaled to size × size by bicubic interpolation, whatever their
/// shape; there is no augmentation. See [`ImageBatch`] for an example.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageBatcher {
    size: usize,
    mean: [f32; 3],
    std: [f32; 3],
}

impl ImageBatcher {
    /// Pictures of `size` × `size` pixels, with the mean and the deviation of each colour.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for a size of 0, a mean that is not a number, or a deviation that is not
    /// greater than 0.
    pub fn new(size: usize, mean: [f32; 3], std: [f32; 3]) -> Result<Self, Error> {
        if size == 0 {
            return Err(Error::option("image_size", "at least 1 pixel", size));
        }
        if let Some(bad) = mean.iter().find(|mean| !mean.is_finite()) {
            return Err(Error::option("mean", "finite numbers", bad));
        }
        if let Some(bad) = std.iter().find(|std| !(std.is_finite() && **std > 0.0)) {
            return Err(Error::option("std", "numbers greater than 0", bad));
        }
        Ok(Self { size, mean, std })
    }

    /// With ImageNet's mean and deviation, as DINOv2 expects.
    ///
    /// ```
    /// use finetune::data::ImageBatcher;
    ///
    /// assert!(ImageBatcher::imagenet(98).is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for a size of 0.
    pub fn imagenet(size: usize) -> Result<Self, Error> {
        Self::new(size, IMAGENET.0, IMAGENET.1)
    }

    /// The picture's values `[3, size, size]`.
    fn normalised(&self, image: ImageExample) -> Vec<f32> {
        let pixels = if (image.height, image.width) == (self.size, self.size) {
            image.pixels
        } else {
            scaled(image, self.size).pixels
        };
        let plane = |colour: usize| {
            let values = pixels.iter().skip(colour).step_by(3);
            let (mean, std) = (self.mean[colour], self.std[colour]);
            values.map(move |&value| (f32::from(value) / 255.0 - mean) / std)
        };
        (0..3).flat_map(plane).collect()
    }
}

/// The picture at `size` × `size`.
pub(super) fn scaled(image: ImageExample, size: usize) -> ImageExample {
    let (width, height) = (image.width as u32, image.height as u32);
    let picture = RgbImage::from_raw(width, height, image.pixels)
        .expect("a picture has height × width × 3 values");
    let picture = resize(&picture, size as u32, size as u32, FilterType::CatmullRom);
    ImageExample {
        pixels: picture.into_raw(),
        height: size,
        width: size,
        label: image.label,
    }
}

impl Batcher<ImageExample, ImageBatch> for ImageBatcher {
    /// # Panics
    ///
    /// Panics if a picture does not have height × width × 3 values.
    fn batch(&self, items: Vec<ImageExample>, device: &Device) -> ImageBatch {
        let shape = [items.len(), 3, self.size, self.size];
        let labels = classes(items.iter().map(|item| item.label), device);
        let pixels = items.into_iter().flat_map(|item| self.normalised(item));
        let pixels = TensorData::new(pixels.collect(), shape);
        ImageBatch {
            pixels: Tensor::from_data(pixels, device),
            labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(batch: ImageBatch) -> Vec<f32> {
        batch.pixels.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn colours_become_planes_and_are_normalised() {
        let pixels = vec![0, 51, 255, 102, 153, 204, 0, 0, 0, 255, 255, 255];
        let image = ImageExample {
            pixels,
            height: 2,
            width: 2,
            label: 3,
        };
        let batcher = ImageBatcher::new(2, [0.0, 0.2, 0.5], [1.0, 0.4, 0.5]).unwrap();
        let batch = batcher.batch(vec![image], &Device::flex());
        let labels = batch.labels.clone().into_data().convert::<i64>();
        assert_eq!(labels.try_to_vec::<i64>().unwrap(), [3]);
        let expected = [
            [0.0, 0.4, 0.0, 1.0],
            [0.0, 1.0, -0.5, 2.0],
            [1.0, 0.6, -1.0, 1.0],
        ];
        let found = values(batch);
        for (found, expected) in found.iter().zip(expected.as_flattened()) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn pictures_of_any_shape_are_scaled_to_one() {
        // Left half black, right half white.
        let row = [[0; 3], [0; 3], [255; 3], [255; 3]].concat();
        let image = ImageExample {
            pixels: [row.clone(), row].concat(),
            height: 2,
            width: 4,
            label: 0,
        };
        let batcher = ImageBatcher::new(8, [0.0; 3], [1.0; 3]).unwrap();
        let batch = batcher.batch(vec![image.clone(), image], &Device::flex());
        assert_eq!(batch.pixels.dims(), [2, 3, 8, 8]);
        let values = values(batch);
        for row in values.chunks(8) {
            assert_eq!((row[0], row[7]), (0.0, 1.0));
            assert!(row.is_sorted(), "{row:?}");
        }
    }

    #[test]
    fn numbers_that_cannot_normalise_are_refused() {
        assert!(ImageBatcher::new(0, [0.0; 3], [1.0; 3]).is_err());
        assert!(ImageBatcher::new(2, [f32::NAN; 3], [1.0; 3]).is_err());
        let error = ImageBatcher::new(2, [0.0; 3], [1.0, 0.0, 1.0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "option `std`: expected numbers greater than 0, found 0"
        );
    }
}
