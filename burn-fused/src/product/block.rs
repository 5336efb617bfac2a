//! Products of blocks, each on one thread, with factors read where Flex keeps them.

use burn::backend::flex::FlexTensor;
use burn::tensor::Element;
use bytemuck::Pod;
use faer::linalg::matmul::matmul;
use faer::reborrow::ReborrowMut;
use faer::traits::RealField;
use faer::traits::math_utils::one;
use faer::{Accum, MatMut, MatRef, Par};

/// A matrix whose rows or columns lie in one piece each.
pub(super) fn straight(matrix: &FlexTensor) -> FlexTensor {
    match layout(matrix) {
        Some(_) => matrix.clone(),
        None => matrix.to_contiguous(),
    }
}

/// The entries where they lie.
pub(super) fn view<E: Element + Pod>(matrix: &FlexTensor) -> MatRef<'_, E> {
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

pub(super) fn size(matrix: &FlexTensor) -> [usize; 2] {
    let shape = matrix.layout().shape();
    [shape[0], shape[1]]
}

/// Inner sizes up to which a left factor is read across its lines.
pub(super) const SHALLOW: usize = 128;
/// Largest block of a left factor that is turned at once, in rows and columns.
pub(super) const TURNED: [usize; 2] = [1536, 512];
/// Fewest columns that [`multiply`] cuts a wide output into.
pub(super) const NARROWEST: usize = 256;
/// Lines of a block that are turned together.
const TILE: usize = 16;

/// Whether [`add_product`] copies this left factor: down its columns, a large one misses the cache at
/// every entry.
pub(super) fn is_turned<E>(a: MatRef<'_, E>) -> bool {
    a.ncols() > SHALLOW && a.col_stride() != 1
}

/// `out = a b` or `out += a b`, in one strip.
pub(super) fn add_product<E: Element + RealField>(
    mut out: MatMut<'_, E>,
    accum: Accum,
    a: MatRef<'_, E>,
    b: MatRef<'_, E>,
) {
    if !is_turned(a) {
        return multiply(out, accum, a, b);
    }
    let depth = a.ncols();
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

/// Terms that are summed up before the sum is added to the output. faer sums up more where the caches are large, and
/// then the rounding errors of f32 depend on the processor.
const SUMMED: usize = 256;

/// `out = a b` or `out += a b` on this thread, for a row-major output. An output that is much wider
/// than high is cut: faer packs the narrow factor too then, which takes longer than it saves.
pub(super) fn multiply<E: RealField>(
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
        let b = b.subcols(at, width);
        let mut accum = accum;
        let depth = a.ncols();
        for from in (0..depth.max(1)).step_by(SUMMED) {
            let deep = SUMMED.min(depth - from);
            let out = out.rb_mut().subcols_mut(at, width);
            let (a, b) = (a.subcols(from, deep), b.subrows(from, deep));
            matmul(out, accum, a, b, one::<E>(), Par::Seq);
            accum = Accum::Add;
        }
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
