//! What is in an output before products are added to it.

use burn::backend::flex::FlexTensor;
use burn::tensor::Element;
use bytemuck::Pod;
use faer::Accum;
use faer::traits::RealField;
use faer::traits::math_utils::add;

/// Entries that every row, and that all rows start with.
#[derive(Clone, Copy)]
pub(super) struct Start<'a, E> {
    row: Option<&'a [E]>,
    all: Option<&'a [E]>,
    columns: usize,
}

impl<'a, E: Element + Pod + RealField> Start<'a, E> {
    /// For an output of this size, from tensors whose entries lie in order.
    pub fn new(
        row: Option<&'a FlexTensor>,
        all: Option<&'a FlexTensor>,
        [rows, columns]: [usize; 2],
    ) -> Self {
        let entries = |term: &'a FlexTensor, count| {
            let entries = term.as_slice::<E>().expect("terms of one precision");
            assert_eq!(entries.len(), count, "sizes of terms");
            entries
        };
        Self {
            row: row.map(|row| entries(row, columns)),
            all: all.map(|all| entries(all, rows * columns)),
            columns,
        }
    }

    /// Write the start of the rows from `first` on; how a product then meets them.
    pub fn fill(&self, first: usize, lines: &mut [E]) -> Accum {
        if self.columns == 0 {
            return Accum::Replace;
        }
        if let Some(all) = self.all {
            lines.copy_from_slice(&all[first * self.columns..][..lines.len()]);
        }
        let Some(row) = self.row else {
            return match self.all {
                Some(_) => Accum::Add,
                None => Accum::Replace,
            };
        };
        for line in lines.chunks_exact_mut(self.columns) {
            match self.all {
                Some(_) => {
                    for (entry, term) in line.iter_mut().zip(row) {
                        *entry = add(entry, term);
                    }
                }
                None => line.copy_from_slice(row),
            }
        }
        Accum::Add
    }
}
