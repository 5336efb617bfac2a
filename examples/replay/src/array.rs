//! Tensors on the host.

use burn::tensor::Tensor;

/// Values of a tensor on the host.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Floats, of any width in the file.
    Float(Vec<f64>),
    /// Integers.
    Int(Vec<i64>),
}

/// A tensor on the host, row-major.
///
/// ```
/// use replay::{Array, Values};
///
/// let labels = Array { shape: vec![3], values: Values::Int(vec![0, 2, 1]) };
/// # let _ = labels;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Values,
}

/// Read a tensor to the host as f64.
pub(crate) fn to_host<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}
