//! Inner products of tensors that are as large as models.

use burn::tensor::{Tensor, TensorData};
#[cfg(feature = "flex")]
use burn_flex_fused::product::primitive;
use rayon::prelude::*;

use crate::linalg::dot;

/// Entries of which one thread takes the inner product.
const CHUNK: usize = 1 << 16;

/// Inner product, accumulated in f64 without a copy in f64: the tensors are as large as models.
pub(super) fn inner(a: Tensor<1>, b: Tensor<1>) -> f64 {
    #[cfg(feature = "flex")]
    if let [Some(a), Some(b)] = [&a, &b].map(primitive)
        && let [Some(a), Some(b)] = [&a, &b].map(|entries| entries.as_slice::<f32>())
    {
        return inner_f32(a, b);
    }
    host_inner(&a.into_data(), &b.into_data())
}

/// The inner product of a tensor with itself.
pub(super) fn square(a: Tensor<1>) -> f64 {
    #[cfg(feature = "flex")]
    if let Some(a) = primitive(&a)
        && let Some(a) = a.as_slice::<f32>()
    {
        return inner_f32(a, a);
    }
    let a = a.into_data();
    host_inner(&a, &a)
}

fn host_inner(a: &TensorData, b: &TensorData) -> f64 {
    match (a.as_slice::<f32>(), b.as_slice::<f32>()) {
        (Ok(a), Ok(b)) => inner_f32(a, b),
        _ => {
            let [a, b] = [a, b].map(|data| data.iter::<f64>().collect::<Vec<_>>());
            dot(&a, &b)
        }
    }
}

fn inner_f32(a: &[f32], b: &[f32]) -> f64 {
    let chunks = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    // Added in the order of the chunks, so that the sum does not depend on the number of threads.
    let sums: Vec<f64> = chunks.map(|(a, b)| dot_f32(a, b)).collect();
    sums.iter().sum()
}

/// As [`dot`], for f32 entries accumulated in f64.
fn dot_f32(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = 16;
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f64 = rest.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    // One sum per lane, so that the compiler can use vector instructions.
    let mut lanes = [0.0; LANES];
    for (a, b) in a.zip(b) {
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += f64::from(a) * f64::from(b);
        }
    }
    lanes.iter().sum::<f64>() + rest
}
