//! A symmetric matrix from its lower triangle.

use std::ops::Range;

use burn::tensor::Tensor;

/// Fewest samples of a diagonal block. Smaller products take less time than the call itself.
const SMALLEST: usize = 32;
/// Most diagonal blocks of a triangle.
const DIAGONAL: usize = 8;

/// The lower triangle of a matrix `[samples, samples]`, from blocks `block(rows, columns)` at and below
/// the diagonal. The entries above the diagonal blocks are zero.
///
/// A block has at most `most` entries, unless a single row already has more. The triangle is split
/// into a square and two smaller triangles, and these are split again, so that most of the work is in
/// a few large products.
pub(super) fn triangular(
    samples: usize,
    most: usize,
    block: impl Fn(Range<usize>, Range<usize>) -> Tensor<2>,
) -> Tensor<2> {
    let blocks = blocks(samples, most);
    if let [(rows, columns)] = blocks.as_slice() {
        return block(rows.clone(), columns.clone());
    }
    let sum = blocks.into_iter().fold(None, |sum, (rows, columns)| {
        let share = block(rows.clone(), columns.clone());
        let sum = sum
            .unwrap_or_else(|| Tensor::zeros([samples, samples], (&share.device(), share.dtype())));
        Some(sum.slice_assign([rows, columns], share))
    });
    sum.expect("at least one block")
}

/// The blocks of a triangle, as rows and columns.
fn blocks(samples: usize, most: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let smallest = SMALLEST.max(samples / DIAGONAL);
    let mut blocks = Vec::new();
    cut(0..samples, smallest, most, &mut blocks);
    blocks
}

fn cut(
    rows: Range<usize>,
    smallest: usize,
    most: usize,
    blocks: &mut Vec<(Range<usize>, Range<usize>)>,
) {
    let samples = rows.len();
    if samples <= 1 || (samples < 2 * smallest && samples * samples <= most) {
        blocks.push((rows.clone(), rows));
        return;
    }
    let middle = rows.start + samples / 2;
    cut(rows.start..middle, smallest, most, blocks);
    let columns = rows.start..middle;
    let strip = (most / columns.len()).max(1);
    for start in (middle..rows.end).step_by(strip) {
        blocks.push((start..(start + strip).min(rows.end), columns.clone()));
    }
    cut(middle..rows.end, smallest, most, blocks);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_cover_the_lower_triangle_once(samples in 1usize..300, most in 1usize..20_000) {
            let mut count = vec![0; samples * samples];
            for (rows, columns) in blocks(samples, most) {
                let entries = rows.len() * columns.len();
                prop_assert!(entries <= most || rows.len() == 1, "{rows:?} {columns:?}");
                for i in rows {
                    for j in columns.clone() {
                        count[i * samples + j] += 1;
                    }
                }
            }
            for i in 0..samples {
                for j in 0..=i {
                    prop_assert_eq!(count[i * samples + j], 1);
                }
            }
        }
    }

    #[test]
    fn small_batches_are_one_block_and_large_ones_about_half_the_square() {
        assert_eq!(blocks(63, usize::MAX), [(0..63, 0..63)]);
        let work = |samples| -> usize {
            let blocks = blocks(samples, usize::MAX);
            blocks
                .iter()
                .map(|(rows, columns)| rows.len() * columns.len())
                .sum()
        };
        assert_eq!(work(64), 64 * 64 * 3 / 4);
        assert_eq!(work(1024), 1024 * 1024 * 9 / 16);
    }
}
