//! Products of one shape, added up where they are written.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Element, TensorData};
use bytemuck::Pod;
use faer::reborrow::ReborrowMut;
use faer::traits::RealField;
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;

use super::block::{SHALLOW, add_product, is_turned};
use super::factor::{size, straight, view};

/// Fewest multiplications of a strip: less is not worth another thread.
pub(super) const SHARE: usize = 1 << 22;
/// Most rows of a strip: its entries stay in the cache while products are added to them.
pub(super) const HEIGHT: usize = 256;
/// Entries that a thread clears at once.
const CLEARED: usize = 1 << 16;

/// See [`sum_of_products`](super::sum_of_products).
pub(super) fn of<E: Element + Pod + RealField>(products: Vec<[FlexTensor; 2]>) -> FlexTensor {
    let mut products: Vec<_> = products
        .into_iter()
        .map(|pair| pair.map(|factor| straight(&factor)))
        .collect();
    let sizes = products.iter().map(|pair| pair.each_ref().map(size));
    let (rows, columns, depth) = agreed(sizes);
    let strips = (rows * columns * depth / SHARE).clamp(1, rayon::current_num_threads());
    let share = rows.div_ceil(strips).max(1);
    // Every strip packs the right factors anew: that pays where the sums are long, and no left
    // factor is turned.
    let turned = products.iter().any(|[a, _]| is_turned(view::<E>(a)));
    let height = match turned || depth <= SHALLOW || strips == 1 {
        true => share,
        false => share.div_ceil(share.div_ceil(HEIGHT)),
    };
    // The rows that replace a strip's own wait in memory of their own: only low strips.
    if height <= HEIGHT && overwritable::<E>(&mut products[0]) {
        return overwrite::<E>(products, height);
    }
    let products: Vec<_> = products
        .iter()
        .map(|pair| pair.each_ref().map(view::<E>))
        .collect();
    let write = |first: usize, lines: &mut [E]| {
        let count = lines.len() / columns.max(1);
        let out = MatMut::from_row_major_slice_mut(lines, count, columns);
        write_rows(out, Accum::Replace, &products, first);
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
        let mut out = MatMut::from_row_major_slice_mut(block, count, columns);
        let own = MatRef::from_row_major_slice(lines, count, columns);
        add_product(out.rb_mut(), Accum::Replace, own, weight);
        write_rows(out, Accum::Add, &others, at * height);
        lines.copy_from_slice(block);
    });
    first
}
