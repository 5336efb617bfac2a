//! Rows that are arrays of one size.

use burn::tensor::{Device, Tensor, TensorData};

use super::{Rows, Targets};

/// Rows of `width` numbers each, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrays {
    width: usize,
    inputs: Vec<f32>,
    targets: TargetValues,
}

/// The targets of all rows.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetValues {
    /// The class of each row.
    Classes(Vec<i64>),
    /// The number of each row.
    Values(Vec<f32>),
}

impl TargetValues {
    fn count(&self) -> usize {
        match self {
            Self::Classes(classes) => classes.len(),
            Self::Values(values) => values.len(),
        }
    }
}

impl Arrays {
    /// Of the numbers of all rows, one row after the other.
    ///
    /// # Panics
    ///
    /// Panics if the numbers are not a multiple of the targets.
    pub fn new(inputs: Vec<f32>, targets: TargetValues) -> Self {
        let count = targets.count();
        assert!(
            count > 0 && inputs.len().is_multiple_of(count),
            "expected a multiple of {count} inputs, found {}",
            inputs.len()
        );
        Self {
            width: inputs.len() / count,
            inputs,
            targets,
        }
    }
}

impl Rows for Arrays {
    /// `[M, width]`.
    type Inputs = Tensor<2>;

    fn count(&self) -> usize {
        self.targets.count()
    }

    fn batch(&self, places: &[usize], device: &Device) -> (Tensor<2>, Targets) {
        let (m, width) = (places.len(), self.width);
        let mut inputs = Vec::with_capacity(m * width);
        for &place in places {
            inputs.extend_from_slice(&self.inputs[place * width..][..width]);
        }
        let targets = match &self.targets {
            TargetValues::Classes(classes) => {
                let own: Vec<i64> = places.iter().map(|&place| classes[place]).collect();
                Targets::Classes(Tensor::from_data(TensorData::new(own, [m]), device))
            }
            TargetValues::Values(values) => {
                let own: Vec<f32> = places.iter().map(|&place| values[place]).collect();
                Targets::Values(Tensor::from_data(TensorData::new(own, [m, 1]), device))
            }
        };
        let inputs = Tensor::from_data(TensorData::new(inputs, [m, width]), device);
        (inputs, targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_its_rows_in_order() {
        let targets = TargetValues::Classes(vec![7, 8, 9]);
        let rows = Arrays::new(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0], targets);
        let (inputs, targets) = rows.batch(&[2, 0, 2], &Device::flex());
        assert_eq!(inputs.dims(), [3, 2]);
        let inputs = inputs.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(inputs, [4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
        let Targets::Classes(classes) = targets else {
            panic!("classes");
        };
        let classes = classes.into_data().convert::<i64>();
        assert_eq!(classes.try_to_vec::<i64>().unwrap(), [9, 7, 9]);
    }
}
