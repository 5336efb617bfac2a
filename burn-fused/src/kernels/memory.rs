//! Entries of Flex tensors, and how kernels share the work of writing them.

use burn::backend::flex::FlexTensor;
use burn::tensor::TensorData;
use rayon::prelude::*;

use super::real::Real;

/// Entries that a thread works on at once: enough to pay for the thread, few enough for the cache.
pub(crate) const CHUNK: usize = 1 << 14;

/// Run a kernel with the widest vectors that the processor has.
#[inline(always)]
pub(crate) fn wide<R>(kernel: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(kernel)
}

/// The tensor with its entries in one piece, in order.
pub(crate) fn dense(x: &FlexTensor) -> FlexTensor {
    if x.is_contiguous() {
        x.clone()
    } else {
        x.to_contiguous()
    }
}

/// The entries of a [`dense`] tensor.
pub(crate) fn entries<E: Real>(x: &FlexTensor) -> &[E] {
    x.as_slice::<E>().expect("a dense tensor of this dtype")
}

/// The sizes of the axes.
pub(crate) fn shape(x: &FlexTensor) -> Vec<usize> {
    x.layout().shape().iter().copied().collect()
}

/// The size of the last axis.
pub(crate) fn width(x: &FlexTensor) -> usize {
    shape(x).last().copied().unwrap_or(1)
}

/// A tensor from its entries in order.
pub(crate) fn tensor<E: Real>(entries: Vec<E>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(entries, shape))
}

/// Zeros, written by all threads: new memory costs a page fault per page.
pub(crate) fn zeros<E: Real>(count: usize) -> Vec<E> {
    if count <= 4 * CHUNK {
        return vec![E::ZERO; count];
    }
    let all = (0..count).into_par_iter().with_min_len(4 * CHUNK);
    all.map(|_| E::ZERO).collect()
}

/// A tensor of the same shape whose entries start as those of `x`, in the memory of `x` if nothing
/// else uses it, after `write` changed them.
pub(crate) fn overwrite<E: Real>(mut x: FlexTensor, write: impl FnOnce(&mut [E])) -> FlexTensor {
    let whole = x.is_contiguous() && x.layout().start_offset() == 0;
    let count = x.layout().num_elements();
    if whole
        && let Some(entries) = x.try_storage_mut::<E>()
        && entries.len() == count
    {
        write(entries);
        return x;
    }
    let dense = dense(&x);
    let mut copy = entries::<E>(&dense).to_vec();
    write(&mut copy);
    tensor(copy, shape(&x))
}

/// Call `write` with the start and the entries of each chunk of `out`, on all threads if there is
/// more than one chunk.
pub(crate) fn each_chunk<E: Real>(
    out: &mut [E],
    chunk: usize,
    write: impl Fn(usize, &mut [E]) + Send + Sync,
) {
    if out.len() <= chunk {
        return write(0, out);
    }
    let chunks = out.par_chunks_mut(chunk).enumerate();
    chunks.for_each(|(at, out)| write(at * chunk, out));
}

/// The entries of whole rows of this width that make up a chunk.
pub(crate) fn rows_chunk(width: usize) -> usize {
    (CHUNK / width).max(1) * width
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(x: &FlexTensor) -> Vec<f32> {
        entries(&dense(x)).to_vec()
    }

    #[test]
    fn what_is_shared_is_not_overwritten() {
        let x = tensor(vec![1.0f32, 2.0], vec![2]);
        let other = x.clone();
        let y = overwrite::<f32>(x, |entries| entries[0] = 5.0);
        assert_eq!(count(&other), [1.0, 2.0]);
        assert_eq!(count(&y), [5.0, 2.0]);
        let address = entries::<f32>(&y).as_ptr();
        let z = overwrite::<f32>(y, |entries| entries[1] = 6.0);
        assert_eq!(count(&z), [5.0, 6.0]);
        assert_eq!(entries::<f32>(&z).as_ptr(), address);
    }

    #[test]
    fn chunks_cover_everything_once() {
        let mut out = vec![0.0f64; 10];
        each_chunk(&mut out, 4, |start, out| {
            for (at, out) in out.iter_mut().enumerate() {
                *out += (start + at) as f64;
            }
        });
        assert_eq!(out, (0..10).map(f64::from).collect::<Vec<_>>());
        assert_eq!(rows_chunk(3) % 3, 0);
        assert_eq!(rows_chunk(CHUNK + 1), CHUNK + 1);
    }
}
