//! Diamonds: the price from eight properties.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use finetune::model::Mlp;
use ports::SimpleRegression;
use ports::batch::Measured;
use ports::training::Recipe;

use crate::data::{Arrays, Split, TargetValues};
use crate::definition::{Definition, Half, Score, Trained};
use crate::error::Error;
use crate::task::Task;

/// Diamonds: the logarithm of the price, in deviations from its mean, from eight properties.
#[derive(Debug)]
pub struct Diamonds;

impl Task for Diamonds {
    type Rows = Arrays;
    type Model = Mlp;

    const DEFINITION: Definition = Definition {
        name: "diamonds",
        title: "diamonds, MLP, regression",
        half: Half::Explore,
        version: 1,
        trained: Trained::FromScratch,
        batch: 64,
        steps: 3000,
        measured_rows: 2000,
        score: Score::R2,
        folders: &[],
        not_hidden: &["layers.2"],
    };

    fn rows(folder: &Path) -> Result<Split<Arrays>, Error> {
        let split = SimpleRegression::data(folder, &Device::flex()).map_err(Self::refuse)?;
        let [train, test] = [split.train, split.test].map(numbers);
        let logarithms: Vec<f64> = train.1.iter().map(|price| f64::from(*price).ln()).collect();
        let mean = programs::statistics::mean(&logarithms);
        let deviation = programs::statistics::deviation(&logarithms);
        let arrays = |(inputs, prices): (Vec<f32>, Vec<f32>)| {
            let targets = prices.iter().map(|price| f64::from(*price).ln());
            let targets = targets.map(|value| ((value - mean) / deviation) as f32);
            // Inputs come between 0 and 1: centred, as networks need them.
            let inputs = inputs.iter().map(|input| 2.0 * input - 1.0).collect();
            Arrays::new(inputs, TargetValues::Values(targets.collect()))
        };
        Ok(Split {
            train: arrays(train),
            test: arrays(test),
        })
    }

    fn model(_folder: &Path, device: &Device) -> Result<Mlp, Error> {
        Ok(Mlp::new(8, &[64, 64], 1, device))
    }

    fn outputs(model: &Mlp, inputs: Tensor<2>) -> Tensor<2> {
        let [m, width] = inputs.dims();
        model.forward(inputs.reshape([m, 1, 1, width]))
    }
}

fn numbers(part: Measured<2>) -> (Vec<f32>, Vec<f32>) {
    let values = |tensor: Tensor<2>| tensor.into_data().iter::<f32>().collect();
    (values(part.inputs), values(part.targets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Rows, Targets};

    #[test]
    fn prices_are_standardised_by_the_training_rows() {
        let split = Diamonds::rows(Path::new("")).unwrap();
        let all: Vec<usize> = (0..split.train.count()).collect();
        let (inputs, targets) = split.train.batch(&all, &Device::flex());
        let Targets::Values(values) = targets else {
            panic!("numbers");
        };
        let values: Vec<f64> = values.into_data().iter::<f64>().collect();
        assert!(programs::statistics::mean(&values).abs() < 1e-5);
        assert!((programs::statistics::deviation(&values) - 1.0).abs() < 1e-5);
        let largest = inputs.abs().max().into_scalar::<f32>();
        assert!((0.9..=1.0).contains(&largest), "{largest}");
    }
}
