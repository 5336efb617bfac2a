//! MNIST and CIFAR-10.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor};
use finetune::data::{DataSource, Dataset, ImageExample, Task};
use ports::Mnist;
use ports::batch::Labelled;
use ports::training::Recipe;

use super::{Arrays, Split, TargetValues};

/// 8,000 and 2,000 pictures of MNIST, `[28 × 28]` numbers each, normalised.
///
/// # Errors
///
/// Names the file.
pub fn mnist(folder: &Path) -> Result<Split<Arrays>, ports::Error> {
    let split = Mnist::data(folder, &Device::flex())?;
    let arrays = |part: Labelled<3>| {
        let inputs = part.inputs.into_data().iter::<f32>().collect();
        Arrays::new(inputs, TargetValues::Classes(classes(part.labels)))
    };
    Ok(Split {
        train: arrays(split.train),
        test: arrays(split.test),
    })
}

fn classes(labels: Tensor<1, Int>) -> Vec<i64> {
    labels.into_data().iter::<i64>().collect()
}

/// Some pictures of CIFAR-10, `[3 × 32 × 32]` numbers each, every channel normalised.
///
/// # Errors
///
/// Names the file.
pub fn cifar10(
    folder: &Path,
    train: usize,
    test: usize,
) -> Result<Split<Arrays>, finetune::data::Error> {
    let source = DataSource {
        train_rows: Some(train),
        test_rows: Some(test),
        valid_share: 0.0,
        ..DataSource::new(folder.join("cifar10"))
    };
    let arrays = |rows: &[ImageExample]| {
        let inputs = rows.iter().flat_map(planes).collect();
        let classes = rows.iter().map(|row| row.label as i64).collect();
        Arrays::new(inputs, TargetValues::Classes(classes))
    };
    match Task::Cifar10.load(&source)? {
        Dataset::Image(splits) => Ok(Split {
            train: arrays(&splits.train),
            test: arrays(&splits.test),
        }),
        _ => unreachable!("CIFAR-10 has pictures"),
    }
}

/// The channels of a picture one after the other, normalised by CIFAR-10's means and deviations.
fn planes(picture: &ImageExample) -> impl Iterator<Item = f32> + '_ {
    const MEANS: [f32; 3] = [0.4914, 0.48216, 0.44653];
    const DEVIATIONS: [f32; 3] = [0.24703, 0.24349, 0.26159];
    (0..3).flat_map(|channel| {
        let own = picture.pixels.iter().skip(channel).step_by(3);
        own.map(move |&pixel| (f32::from(pixel) / 255.0 - MEANS[channel]) / DEVIATIONS[channel])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_become_planes() {
        let picture = ImageExample {
            pixels: vec![0, 255, 10, 255, 0, 20],
            height: 1,
            width: 2,
            label: 0,
        };
        let values: Vec<f32> = planes(&picture).collect();
        let (dark, light) = (-0.4914 / 0.24703, (1.0 - 0.4914) / 0.24703);
        assert!((values[0] - dark).abs() < 1e-5 && (values[1] - light).abs() < 1e-5);
        assert!(values[2] > values[3] && values[4] < values[5]);
        assert_eq!(values.len(), 6);
    }
}
