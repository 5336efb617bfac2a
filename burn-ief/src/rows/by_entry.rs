//! The Gram share of look-ups, entry by entry of the table, where the indices lie in the host's memory.
//!
//! Only an entry that two samples read adds to their inner product, and most entries of a large table are read by
//! few samples or none. Dense rows would hold all entries, and pairs of positions nearly all products for nothing.

use burn::tensor::{DType, Int, Tensor, TensorData};
use burn_flex_fused::is_fused;

use super::{dense_gram, to_dtype};

/// An entry that at least every eighth sample reads goes into a matrix product over all samples, which is about
/// eight times faster for a number than single inner products are.
const COMMON: usize = 8;

/// The lower triangle of the Gram share `[M, M]` of vectors `right`, `[M * T, o]`, that are added to the entries
/// `indices` of a table; `None` on devices whose tensors the host would have to wait for.
///
/// `dense` makes the dense rows for other indices, `[M, T]`, into a table with so many entries.
pub(super) fn gram_by_entry(
    indices: Tensor<1, Int>,
    right: Tensor<2>,
    [samples, positions, width]: [usize; 3],
    dtype: DType,
    dense: impl FnOnce(Tensor<2, Int>, usize) -> Tensor<2>,
) -> Option<Tensor<2>> {
    if !is_fused(&right) {
        return None;
    }
    let device = right.device();
    let indices: Vec<i64> = indices.into_data().iter::<i64>().collect();
    let mut order: Vec<usize> = (0..indices.len()).collect();
    order.sort_by_key(|&at| (indices[at], at));

    let vectors = right.into_data().convert::<f64>();
    let vectors = vectors.as_slice::<f64>().expect("converted to f64");
    let mut lower = vec![0.0; samples * samples];
    // Positions of common entries get the number of the entry among these.
    let mut common = vec![None; indices.len()];
    let mut entries = 0;
    for run in order.chunk_by(|&a, &b| indices[a] == indices[b]) {
        let readers = run.chunk_by(|&a, &b| a / positions == b / positions);
        if readers.clone().count() * COMMON >= samples {
            run.iter().for_each(|&at| common[at] = Some(entries));
            entries += 1;
            continue;
        }
        // The sum of a sample's vectors at this entry.
        let sums: Vec<(usize, Vec<f64>)> = readers
            .map(|places| {
                let mut sum = vec![0.0; width];
                for &at in places {
                    let vector = &vectors[at * width..(at + 1) * width];
                    sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
                }
                (places[0] / positions, sum)
            })
            .collect();
        for (i, (n, a)) in sums.iter().enumerate() {
            for (m, b) in &sums[..=i] {
                lower[n * samples + m] += dot(a, b);
            }
        }
    }
    let lower = TensorData::new(lower, [samples, samples]);
    let lower = to_dtype(Tensor::from_data(lower, (&device, DType::F64)), dtype);
    if entries == 0 {
        return Some(lower);
    }
    // All other positions go to one more entry, which is left out.
    let numbers = common.into_iter().map(|at| at.unwrap_or(entries) as i64);
    let numbers = TensorData::new(numbers.collect(), [samples, positions]);
    let numbers = Tensor::<2, Int>::from_data(numbers, &device);
    let dense = dense(numbers, entries + 1);
    let dense = dense.narrow(1, 0, entries * width);
    Some(lower + dense_gram(dense, dtype))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Sums side by side: the compiler may not reorder one sum.
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest: f64 = rest.map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    rest + sums.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Lookup;
    use burn::tensor::{Device, Distribution};

    fn noise<const D: usize>(dims: [usize; D]) -> Tensor<D> {
        Tensor::random(dims, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    #[test]
    fn rare_and_common_entries_make_the_product_of_dense_rows() {
        let device = Device::flex();
        for (samples, positions, entries) in [(1, 3, 5), (12, 9, 400), (40, 6, 30), (20, 1, 2)] {
            let uniform = Distribution::Uniform(1.0, entries as f64);
            let indices = Tensor::<2>::random([samples, positions], uniform, &device).int();
            // Entry 0 at the end of every sample, as padding is.
            let pad = Tensor::<2, Int>::zeros([samples, 2], &device);
            let indices = Tensor::cat(vec![indices, pad], 1);
            let rows = Lookup::new(indices, noise([samples, positions + 2, 11]), entries);
            let dense = rows.to_dense();
            let expected = dense.clone().matmul(dense.transpose()).tril(0);
            for dtype in [DType::F32, DType::F64] {
                let gram = rows.gram(dtype).tril(0);
                assert_eq!(gram.dtype(), dtype);
                let error = (gram.cast(DType::F32) - expected.clone()).abs().max();
                assert!(error.into_scalar::<f32>() < 1e-4);
            }
        }
    }

    #[test]
    fn inner_products_have_all_their_terms() {
        for length in [0, 7, 8, 19] {
            let a: Vec<f64> = (0..length).map(f64::from).collect();
            let expected: f64 = a.iter().map(|a| a * a).sum();
            assert_eq!(dot(&a, &a), expected);
        }
    }
}
