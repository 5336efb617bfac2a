//! Factors of products, read where Flex keeps them.

use burn::backend::flex::FlexTensor;
use burn::tensor::Element;
use bytemuck::Pod;
use faer::MatRef;

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

pub(super) fn size(matrix: &FlexTensor) -> [usize; 2] {
    let shape = matrix.layout().shape();
    [shape[0], shape[1]]
}
