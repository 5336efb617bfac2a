//! Matrix products on Flex, whose memory is the host's.
//!
//! Burn's product clears its output and copies it before it writes it, and cannot add to what is
//! there. For a weight's gradient, which is as large as the weight and has few samples behind it,
//! that is most of the time. Here the output is written once, by [faer](https://docs.rs/faer),
//! which also takes the widest instructions that the processor has (Burn does so with its feature
//! `x86-v4`).

mod block;
mod gram;
mod long;
mod squares;
mod start;

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Element, Tensor, TensorData};
use bytemuck::Pod;
use faer::reborrow::ReborrowMut;
use faer::traits::RealField;
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

use block::{SHALLOW, add_product, is_turned, size, straight, view};
pub use gram::{GramFactor, hadamard_gram};
pub use squares::outer_squares;
use start::Start;

/// Fewest rows and columns of an output that [`product`] takes.
const NARROW: usize = 32;
/// Largest inner size for which [`product`] pays: with AVX-512 in Burn's own products the deeper ones
/// are as fast, and need no second copy of the left factor.
const DEEPEST: Option<usize> = if cfg!(feature = "x86-v4") {
    Some(256)
} else {
    None
};

/// `Σ_k A_k B_k` for matrices `A_k [m, n_k]` and `B_k [n_k, o]`, all f32 or all f64, as `[m, o]`.
///
/// It may lie in the memory of `A_1`, if that is as large and the caller gives away its only owner.
///
/// ```
/// use burn::backend::Flex;
/// use burn::tensor::{Device, Tensor};
/// use burn_flex_fused::product::sum_of_products;
///
/// let device = Device::flex();
/// let ones = |shape: [usize; 2]| {
///     let ones = Tensor::<2>::ones(shape, &device);
///     ones.try_into_primitive::<Flex>().unwrap()
/// };
/// let sum = sum_of_products(vec![[ones([4, 3]), ones([3, 5])], [ones([4, 2]), ones([2, 5])]]);
/// let sum = Tensor::<2>::from_primitive::<Flex>(sum);
/// assert_eq!(sum.dims(), [4, 5]);
/// assert_eq!(sum.sum().into_scalar::<f32>(), 100.0);
/// ```
///
/// # Panics
///
/// Panics if there is no product, if sizes do not agree, and in other precisions.
pub fn sum_of_products(products: Vec<[FlexTensor; 2]>) -> FlexTensor {
    sum_of_products_and(products, Terms::default())
}

/// What is added to products `[m, o]`.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// To every row, `[o]`.
    pub row: Option<FlexTensor>,
    /// To all entries, with `m o` entries in any shape.
    pub all: Option<FlexTensor>,
}

/// [`sum_of_products`] with more terms, which take no pass of their own.
///
/// ```
/// use burn::backend::Flex;
/// use burn::tensor::{Device, Tensor};
/// use burn_flex_fused::product::{Terms, sum_of_products_and};
///
/// let device = Device::flex();
/// let ones = |shape: [usize; 2]| {
///     let ones = Tensor::<2>::ones(shape, &device);
///     ones.try_into_primitive::<Flex>().unwrap()
/// };
/// let bias = Tensor::<1>::from_floats([1.0, 2.0], &device);
/// let terms = Terms {
///     row: bias.try_into_primitive::<Flex>().ok(),
///     all: None,
/// };
/// let sum = sum_of_products_and(vec![[ones([4, 3]), ones([3, 2])]], terms);
/// let sum = Tensor::<2>::from_primitive::<Flex>(sum);
/// assert_eq!(sum.narrow(0, 3, 1).into_data().try_to_vec::<f32>().unwrap(), [4.0, 5.0]);
/// ```
///
/// # Panics
///
/// Panics if there is no product, if sizes or precisions do not agree, and in precisions other than
/// f32 and f64.
pub fn sum_of_products_and(products: Vec<[FlexTensor; 2]>, terms: Terms) -> FlexTensor {
    match products.first().map(|[left, _]| left.dtype()) {
        Some(DType::F32) => sum_of::<f32>(products, terms),
        Some(DType::F64) => sum_of::<f64>(products, terms),
        other => panic!("a sum of products in {other:?}"),
    }
}

/// `aᵀ b` for `a [n, p]` and `b [n, o]`, both f32 or f64, as `[p, o]`: the gradient of a narrow
/// factor, a long sum with a small result. The threads share the sum.
///
/// ```
/// use burn::backend::Flex;
/// use burn::tensor::{Device, Tensor};
/// use burn_flex_fused::product::transposed_product;
///
/// let device = Device::flex();
/// let ones = |shape: [usize; 2]| {
///     let ones = Tensor::<2>::ones(shape, &device);
///     ones.try_into_primitive::<Flex>().unwrap()
/// };
/// let product = transposed_product(&ones([5, 2]), &ones([5, 3]));
/// let product = Tensor::<2>::from_primitive::<Flex>(product);
/// assert_eq!(product.dims(), [2, 3]);
/// assert_eq!(product.sum().into_scalar::<f32>(), 30.0);
/// ```
///
/// # Panics
///
/// Panics if sizes do not agree, and in other precisions.
pub fn transposed_product(a: &FlexTensor, b: &FlexTensor) -> FlexTensor {
    match a.dtype() {
        DType::F32 => long::product::<f32>(a, b),
        DType::F64 => long::product::<f64>(a, b),
        other => panic!("a product in {other:?}"),
    }
}

/// `a b` of tensors that autodiff does not track; `None` on other devices, in other precisions, and
/// where Burn's own product is as good.
pub fn product(a: &Tensor<2>, b: &Tensor<2>) -> Option<Tensor<2>> {
    let [[rows, depth], [_, columns]] = [a.dims(), b.dims()];
    let exact = matches!(a.dtype(), DType::F32 | DType::F64) && a.dtype() == b.dtype();
    if !is_wide(rows, columns) || !is_shallow(depth) || !exact {
        return None;
    }
    let product = sum_of_products(vec![[primitive(a)?, primitive(b)?]]);
    Some(Tensor::from_primitive::<Flex>(product))
}

/// Whether an output of these sizes is large enough for [`sum_of_products`] to pay.
pub(crate) fn is_wide(rows: usize, columns: usize) -> bool {
    rows.min(columns) >= NARROW
}

/// Whether a left factor that is read across its lines is shallow enough.
pub(crate) fn is_shallow(depth: usize) -> bool {
    DEEPEST.is_none_or(|deepest| depth <= deepest)
}

/// The tensor of Flex, without a copy; `None` on other devices.
pub fn primitive<const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    x.clone().try_into_primitive::<Flex>().ok()
}

/// Fewest multiplications of a strip: less is not worth another thread.
pub(super) const SHARE: usize = 1 << 22;
/// Most rows of a strip: its entries stay in the cache while products are added to them.
pub(super) const HEIGHT: usize = 256;
/// Entries that a thread clears at once.
const CLEARED: usize = 1 << 16;

/// See [`sum_of_products`].
fn sum_of<E: Element + Pod + RealField>(
    products: Vec<[FlexTensor; 2]>,
    terms: Terms,
) -> FlexTensor {
    let mut products: Vec<_> = products
        .into_iter()
        .map(|pair| pair.map(|factor| straight(&factor)))
        .collect();
    let sizes = products.iter().map(|pair| pair.each_ref().map(size));
    let (rows, columns, depth) = agreed(sizes);
    let [row, all] = [terms.row, terms.all].map(|term| term.map(|term| term.to_contiguous()));
    let start = Start::<E>::new(row.as_ref(), all.as_ref(), [rows, columns]);
    let strips = (rows * columns * depth / SHARE).clamp(1, rayon::current_num_threads());
    let share = rows.div_ceil(strips).max(1);
    // Every strip packs the right factors anew: that pays where the sums are long, and no left
    // factor is turned.
    let turned = products.iter().any(|[a, _]| is_turned(view::<E>(a)));
    let height = if turned || depth <= SHALLOW || strips == 1 {
        share
    } else {
        share.div_ceil(share.div_ceil(HEIGHT))
    };
    // The rows that replace a strip's own wait in memory of their own: only low strips.
    if height <= HEIGHT && overwritable::<E>(&mut products[0]) {
        return overwrite::<E>(products, start, height);
    }
    let products: Vec<_> = products
        .iter()
        .map(|pair| pair.each_ref().map(view::<E>))
        .collect();
    let write = |first: usize, lines: &mut [E]| {
        let count = lines.len() / columns.max(1);
        let accum = start.fill(first, lines);
        let out = MatMut::from_row_major_slice_mut(lines, count, columns);
        write_rows(out, accum, &products, first);
    };
    let mut out;
    match strips {
        1 => {
            out = vec![E::default(); rows * columns];
            write(0, &mut out);
        }
        _ => {
            // By all threads: what an allocator has kept, it clears on this one alone.
            let entries = (0..rows * columns).into_par_iter().with_min_len(CLEARED);
            out = entries.map(|_| E::default()).collect();
            let lines = out.par_chunks_mut(height * columns).enumerate();
            let lines = lines.with_max_len(1);
            lines.for_each(|(at, lines)| write(at * height, lines));
        }
    }
    FlexTensor::from_data(TensorData::new(out, [rows, columns]))
}

/// The rows of the sum from `first` on, as many as `out` has, or their sum with what it holds.
fn write_rows<E: Element + RealField>(
    mut out: MatMut<'_, E>,
    mut accum: Accum,
    products: &[[MatRef<'_, E>; 2]],
    first: usize,
) {
    let count = out.nrows();
    for [a, b] in products {
        add_product(out.rb_mut(), accum, a.subrows(first, count), *b);
        accum = Accum::Add;
    }
}

/// Rows and columns of the sum, and the terms of an entry.
fn agreed(mut sizes: impl Iterator<Item = [[usize; 2]; 2]>) -> (usize, usize, usize) {
    let [[rows, mut depth], [inner, columns]] = sizes.next().expect("a product");
    assert_eq!(depth, inner, "sizes of products");
    for [[m, n], [k, o]] in sizes {
        assert_eq!([m, n, o], [rows, k, columns], "sizes of products");
        depth += n;
    }
    (rows, columns, depth)
}

/// Whether the first left factor is as large as the sum, and nothing else reads it.
fn overwritable<E: Element + Pod>([a, b]: &mut [FlexTensor; 2]) -> bool {
    let [rows, columns] = size(a);
    let square = size(b) == [columns, columns];
    let whole = a.is_contiguous() && a.layout().start_offset() == 0;
    let entries = a.try_storage_mut::<E>().map(|entries| entries.len());
    square && whole && entries == Some(rows * columns) && rows * columns > 0
}

/// The sum, in the memory of the first left factor.
fn overwrite<E: Element + Pod + RealField>(
    mut products: Vec<[FlexTensor; 2]>,
    start: Start<'_, E>,
    height: usize,
) -> FlexTensor {
    let [mut first, weight] = products.swap_remove(0);
    let weight = view::<E>(&weight);
    let others: Vec<_> = products
        .iter()
        .map(|pair| pair.each_ref().map(view::<E>))
        .collect();
    let columns = weight.ncols();
    let entries = first.try_storage_mut::<E>().expect("one owner");
    let lines = entries.par_chunks_mut(height * columns).enumerate();
    let lines = lines.with_max_len(1);
    lines.for_each_init(Vec::new, |block, (at, lines)| {
        block.resize(lines.len(), E::default());
        let count = lines.len() / columns;
        let accum = start.fill(at * height, block);
        let mut out = MatMut::from_row_major_slice_mut(block, count, columns);
        let own = MatRef::from_row_major_slice(lines, count, columns);
        add_product(out.rb_mut(), accum, own, weight);
        write_rows(out, Accum::Add, &others, at * height);
        lines.copy_from_slice(block);
    });
    first
}

#[cfg(test)]
mod tests;
