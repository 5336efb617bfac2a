//! Batches, and parts of them.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// A batch with the samples on axis 0 of every tensor.
pub trait Batch: Clone {
    /// Number of samples.
    fn samples(&self) -> usize;

    /// The samples at these places, in this order.
    ///
    /// # Panics
    ///
    /// Panics if there is no sample at one of them.
    fn select(&self, places: &[usize]) -> Self;

    /// The `count` samples from `start` on.
    ///
    /// # Panics
    ///
    /// As [`select`](Self::select).
    fn narrow(&self, start: usize, count: usize) -> Self {
        let places: Vec<usize> = (start..start + count).collect();
        self.select(&places)
    }
}

/// Places as a tensor, to select along an axis.
pub(crate) fn indices(places: &[usize], device: &Device) -> Tensor<1, Int> {
    let places: Vec<i64> = places.iter().map(|&place| place as i64).collect();
    Tensor::from_data(TensorData::new(places.clone(), [places.len()]), device)
}

/// Inputs and their classes.
#[derive(Debug, Clone)]
pub struct Labelled<const D: usize> {
    /// `[M, …]`.
    pub inputs: Tensor<D>,
    /// `[M]`.
    pub labels: Tensor<1, Int>,
}

impl<const D: usize> Batch for Labelled<D> {
    fn samples(&self) -> usize {
        self.labels.dims()[0]
    }

    fn select(&self, places: &[usize]) -> Self {
        let places = indices(places, &self.labels.device());
        Self {
            inputs: self.inputs.clone().select(0, places.clone()),
            labels: self.labels.clone().select(0, places),
        }
    }
}

/// Inputs and the numbers to predict.
#[derive(Debug, Clone)]
pub struct Measured<const D: usize> {
    /// `[M, …]`.
    pub inputs: Tensor<D>,
    /// `[M, 1]`.
    pub targets: Tensor<2>,
}

impl<const D: usize> Batch for Measured<D> {
    fn samples(&self) -> usize {
        self.targets.dims()[0]
    }

    fn select(&self, places: &[usize]) -> Self {
        let places = indices(places, &self.targets.device());
        Self {
            inputs: self.inputs.clone().select(0, places.clone()),
            targets: self.targets.clone().select(0, places),
        }
    }
}
