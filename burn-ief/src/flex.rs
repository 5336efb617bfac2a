//! Matrix products on Flex, whose memory is the host's.
//!
//! Burn's product clears its output and copies it before it writes it, and cannot add to what is
//! there. For a weight's gradient, which is as large as the weight and has few samples behind it,
//! that is most of the time. Here the output is written once, by [faer](https://docs.rs/faer),
//! which also takes the widest instructions that the processor has (Burn does so with its feature
//! `x86-v4`).

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Element, Tensor, TensorData};
use bytemuck::Pod;
use faer::linalg::matmul::matmul;
use faer::reborrow::ReborrowMut;
use faer::traits::RealField;
use faer::traits::math_utils::one;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Fewest multiplications of a strip: less is not worth another thread.
const SHARE: usize = 1 << 22;
/// Fewest rows and columns of an output that [`product`] takes.
const NARROW: usize = 32;
/// Largest inner size for which [`product`] pays: with AVX-512 in Burn's own products the deeper ones
/// are as fast, and need no second copy of the left factor.
const DEEPEST: Option<usize> = if cfg!(feature = "x86-v4") {
    Some(256)
} else {
    None
};
/// Inner sizes up to which a left factor is read across its lines.
const SHALLOW: usize = 128;
/// Largest block of a left factor that is turned at once, in rows and columns.
const TURNED: [usize; 2] = [1536, 512];
/// Fewest columns that [`multiply`] cuts a wide output into.
const NARROWEST: usize = 256;
/// Lines of a block that are turned together.
const TILE: usize = 16;

/// `Σ_k A_k B_k` for matrices `A_k [m, n_k]` and `B_k [n_k, o]`, all f32 or all f64, as `[m, o]`.
///
/// ```
/// use burn::backend::Flex;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::flex::sum_of_products;
///
/// let device = Device::flex();
/// let ones = |shape: [usize; 2]| {
///     let ones = Tensor::<2>::ones(shape, &device);
///     ones.try_into_primitive::<Flex>().unwrap()
/// };
/// let sum = sum_of_products(&[[ones([4, 3]), ones([3, 5])], [ones([4, 2]), ones([2, 5])]]);
/// let sum = Tensor::<2>::from_primitive::<Flex>(sum);
/// assert_eq!(sum.dims(), [4, 5]);
/// assert_eq!(sum.sum().into_scalar::<f32>(), 100.0);
/// ```
///
/// # Panics
///
/// Panics if there is no product, if sizes do not agree, and in other precisions.
pub fn sum_of_products(products: &[[FlexTensor; 2]]) -> FlexTensor {
    match products.first().map(|[left, _]| left.dtype()) {
        Some(DType::F32) => sum::<f32>(products),
        Some(DType::F64) => sum::<f64>(products),
        other => panic!("a sum of products in {other:?}"),
    }
}

/// `a b` off the tape; `None` on other devices, in other precisions, and where Burn's own product is
/// as good.
pub(crate) fn product(a: &Tensor<2>, b: &Tensor<2>) -> Option<Tensor<2>> {
    let wide = a.dims()[0].min(b.dims()[1]) >= NARROW;
    let shallow = DEEPEST.is_none_or(|deepest| a.dims()[1] <= deepest);
    let exact = matches!(a.dtype(), DType::F32 | DType::F64) && a.dtype() == b.dtype();
    if !wide || !shallow || !exact {
        return None;
    }
    let product = sum_of_products(&[[primitive(a)?, primitive(b)?]]);
    Some(Tensor::from_primitive::<Flex>(product))
}

/// A tensor off the tape without a copy; `None` on other devices.
pub(crate) fn primitive<const D: usize>(x: &Tensor<D>) -> Option<FlexTensor> {
    x.clone().try_into_primitive::<Flex>().ok()
}

fn sum<E: Element + Pod + RealField>(products: &[[FlexTensor; 2]]) -> FlexTensor {
    let products: Vec<_> = products
        .iter()
        .map(|pair| pair.each_ref().map(straight))
        .collect();
    let products: Vec<_> = products
        .iter()
        .map(|pair| pair.each_ref().map(view::<E>))
        .collect();
    let [first, second] = products[0];
    let (rows, columns) = (first.nrows(), second.ncols());
    for [a, b] in &products {
        let sizes = [a.nrows(), a.ncols(), b.ncols()];
        assert_eq!(sizes, [rows, b.nrows(), columns], "sizes of products");
    }
    let work: usize = products
        .iter()
        .map(|[a, _]| rows * columns * a.ncols())
        .sum();
    let mut out = vec![E::default(); rows * columns];
    let write = |first: usize, lines: &mut [E]| {
        let count = lines.len() / columns.max(1);
        let mut out = MatMut::from_row_major_slice_mut(lines, count, columns);
        let mut accum = Accum::Replace;
        for [a, b] in &products {
            add_product(out.rb_mut(), accum, a.subrows(first, count), *b);
            accum = Accum::Add;
        }
    };
    let strips = (work / SHARE).clamp(1, rayon::current_num_threads());
    let strip = rows.div_ceil(strips).max(1);
    match strips {
        1 => write(0, &mut out),
        _ => {
            let lines = out.par_chunks_mut(strip * columns).enumerate();
            let lines = lines.with_max_len(1);
            lines.for_each(|(at, lines)| write(at * strip, lines));
        }
    }
    FlexTensor::from_data(TensorData::new(out, [rows, columns]))
}

/// `out = a b` or `out += a b`, in one strip.
fn add_product<E: Element + RealField>(
    mut out: MatMut<'_, E>,
    accum: Accum,
    a: MatRef<'_, E>,
    b: MatRef<'_, E>,
) {
    let depth = a.ncols();
    if depth <= SHALLOW || a.col_stride() == 1 {
        return multiply(out, accum, a, b);
    }
    // Down its columns, a large left factor misses the cache at every entry.
    let mut turned = Vec::new();
    for row in (0..a.nrows()).step_by(TURNED[0]) {
        let rows = TURNED[0].min(a.nrows() - row);
        let mut accum = accum;
        for at in (0..depth).step_by(TURNED[1]) {
            let deep = TURNED[1].min(depth - at);
            turn(a.submatrix(row, at, rows, deep), &mut turned);
            let block = MatRef::from_row_major_slice(&turned, rows, deep);
            let out = out.rb_mut().subrows_mut(row, rows);
            multiply(out, accum, block, b.subrows(at, deep));
            accum = Accum::Add;
        }
    }
}

/// `out = a b` or `out += a b` on this thread, for a row-major output. An output that is much wider
/// than high is cut: faer packs the narrow factor too then, which takes longer than it saves.
pub(crate) fn multiply<E: RealField>(
    mut out: MatMut<'_, E>,
    accum: Accum,
    a: MatRef<'_, E>,
    b: MatRef<'_, E>,
) {
    let (rows, columns) = (a.nrows(), b.ncols());
    let widest = (rows * 4 / 3).max(NARROWEST);
    let width = columns.div_ceil(columns.div_ceil(widest).max(1)).max(1);
    for at in (0..columns).step_by(width) {
        let width = width.min(columns - at);
        let out = out.rb_mut().subcols_mut(at, width);
        matmul(out, accum, a, b.subcols(at, width), one::<E>(), Par::Seq);
    }
}

/// The entries of a matrix whose columns lie in one piece each, row by row.
fn turn<E: Element + RealField>(block: MatRef<'_, E>, entries: &mut Vec<E>) {
    let (rows, columns) = (block.nrows(), block.ncols());
    entries.clear();
    entries.resize(rows * columns, E::default());
    for start in (0..columns).step_by(TILE) {
        let tile = start..(start + TILE).min(columns);
        let lines: Vec<&[E]> = tile
            .clone()
            .map(|at| {
                let column = block.col(at).try_as_col_major();
                column.expect("columns in one piece").as_slice()
            })
            .collect();
        for (row, entries) in entries.chunks_mut(columns).enumerate() {
            for (entry, line) in entries[tile.clone()].iter_mut().zip(&lines) {
                *entry = line[row];
            }
        }
    }
}

/// A matrix whose rows or columns lie in one piece each.
pub(crate) fn straight(matrix: &FlexTensor) -> FlexTensor {
    match layout(matrix) {
        Some(_) => matrix.clone(),
        None => matrix.to_contiguous(),
    }
}

/// The entries where they lie.
pub(crate) fn view<E: Element + Pod>(matrix: &FlexTensor) -> MatRef<'_, E> {
    let layout = layout(matrix).expect("made straight");
    let entries = &matrix.storage::<E>()[matrix.layout().start_offset()..];
    let [rows, columns] = size(matrix);
    match layout {
        Major::Row(stride) => {
            MatRef::from_row_major_slice_with_stride(entries, rows, columns, stride)
        }
        Major::Column(stride) => {
            MatRef::from_column_major_slice_with_stride(entries, rows, columns, stride)
        }
    }
}

/// Which lines of a matrix lie in one piece each, and how far apart they start.
enum Major {
    Row(usize),
    Column(usize),
}

fn layout(matrix: &FlexTensor) -> Option<Major> {
    let [rows, columns] = size(matrix);
    let &[down, along] = matrix.layout().strides() else {
        panic!("a matrix has two strides");
    };
    // The stride of an axis of one entry means nothing. Expanded axes have a stride of zero,
    // flipped ones less.
    let dense = |stride: isize, entries: usize| stride == 1 || entries <= 1;
    let apart = |stride: isize, lines: usize, line: usize| match usize::try_from(stride) {
        _ if lines <= 1 => Some(line),
        Ok(stride) if stride >= line => Some(stride),
        _ => None,
    };
    let row = apart(down, rows, columns).filter(|_| dense(along, columns));
    let column = apart(along, columns, rows).filter(|_| dense(down, rows));
    row.map(Major::Row).or(column.map(Major::Column))
}

fn size(matrix: &FlexTensor) -> [usize; 2] {
    let shape = matrix.layout().shape();
    [shape[0], shape[1]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};
    use proptest::prelude::*;

    /// Entries of size 1, `[rows, columns]`, as a view of larger or smaller memory.
    fn matrix([rows, columns]: [usize; 2], form: u8, dtype: DType) -> Tensor<2> {
        let random = |shape: [usize; 2]| {
            let normal = Distribution::Normal(0.0, 1.0);
            Tensor::<2>::random(shape, normal, (&Device::flex(), dtype))
        };
        match form {
            0 => random([rows, columns]),
            1 => random([columns, rows]).transpose(),
            2 => random([rows + 2, columns + 3]).slice([1..rows + 1, 2..columns + 2]),
            3 => random([columns + 2, rows + 3])
                .slice([1..columns + 1, 2..rows + 2])
                .transpose(),
            4 => random([1, columns]).expand([rows, columns]),
            5 => random([rows, 1]).expand([rows, columns]),
            _ => random([rows, columns]).flip([0, 1]),
        }
    }

    /// Largest distance from Burn's products in f64, added up.
    fn distance(products: &[[Tensor<2>; 2]]) -> f64 {
        let primitive = |factor: &Tensor<2>| primitive(factor).expect("on Flex");
        let primitives: Vec<_> = products
            .iter()
            .map(|pair| pair.each_ref().map(primitive))
            .collect();
        let found = Tensor::<2>::from_primitive::<Flex>(sum_of_products(&primitives));
        let wide = |factor: &Tensor<2>| factor.clone().cast(DType::F64);
        let expected = products.iter().map(|[a, b]| wide(a).matmul(wide(b)));
        let expected = expected.reduce(|a, b| a + b).expect("a product");
        assert_eq!(found.dims(), expected.dims());
        let distance = (found.cast(DType::F64) - expected).abs().max();
        distance.into_scalar::<f64>()
    }

    proptest! {
        #[test]
        fn products_of_all_layouts_agree(
            rows in 1usize..12,
            widths in [1usize..12, 1usize..12, 1usize..5],
            forms in [0u8..7, 0u8..7, 0u8..7, 0u8..7],
            wide: bool,
        ) {
            let [i, o, r] = widths;
            let shapes = [[rows, i], [i, o], [rows, r], [r, o]];
            let dtype = if wide { DType::F64 } else { DType::F32 };
            let [x, w, h, b] = [0, 1, 2, 3].map(|at| matrix(shapes[at], forms[at], dtype));
            // Sums of up to 16 products of normal numbers.
            let bound = if wide { 1e-12 } else { 1e-4 };
            prop_assert!(distance(&[[x, w], [h, b]]) < bound);
        }
    }

    #[test]
    fn products_of_several_strips_agree() {
        // More work than one strip is made of, and rows that do not divide by the threads.
        const { assert!(1031 * 96 * 130 > 2 * SHARE) };
        let shapes = [[1031, 96], [96, 130], [1031, 4], [4, 130]];
        let [x, w, h, b] = [0, 1, 2, 3].map(|at| matrix(shapes[at], at as u8, DType::F64));
        assert!(distance(&[[x, w], [h, b]]) < 1e-11);
    }

    #[test]
    fn wide_outputs_in_several_pieces_agree() {
        let columns = 3 * NARROWEST + 5;
        let [a, b] = [[70, 9], [9, columns]].map(|shape| matrix(shape, 2, DType::F64));
        assert!(distance(&[[a.clone(), b.clone()], [a, b]]) < 1e-11);
    }

    #[test]
    fn left_factors_that_are_turned_in_several_blocks_agree() {
        let [rows, depth] = [TURNED[0] + 9, TURNED[1] + 21];
        let x = || matrix([rows, depth], 3, DType::F64);
        let w = || matrix([depth, 3], 0, DType::F64);
        // In one strip, so that its rows are cut, and added to another product.
        assert!(rows * depth * 3 < SHARE);
        assert!(distance(&[[x(), w()], [x(), w()]]) < 1e-11);
    }

    #[test]
    fn narrow_products_other_precisions_and_the_tape_are_left() {
        let a = matrix([NARROW, 5], 0, DType::F32);
        let b = matrix([5, NARROW], 0, DType::F32);
        assert!(product(&a, &b).is_some());
        assert!(product(&a, &b.clone().narrow(1, 1, NARROW - 1)).is_none());
        assert!(product(&a.clone().cast(DType::F16), &b.clone().cast(DType::F16)).is_none());
        assert!(product(&a, &b.clone().cast(DType::F64)).is_none());
        assert!(product(&a.autodiff(), &b).is_none());
    }

    #[test]
    #[should_panic(expected = "sizes of products")]
    fn sizes_must_agree() {
        let [a, b] = [[2, 3], [4, 5]].map(|shape| {
            let matrix = matrix(shape, 0, DType::F32);
            primitive(&matrix).expect("on Flex")
        });
        sum_of_products(&[[a, b]]);
    }
}
