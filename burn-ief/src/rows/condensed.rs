//! The uses of a parameter in the form that takes the fewest numbers, for work that reads every entry.

use super::{Rows, Squares, joined_from};

/// The same rows, as one use where that is possible.
///
/// Factors that are put together take `T (i + o)` numbers per sample. If dense rows take at most as
/// many, the rows become dense, and so do all rows if entries are wanted one by one.
pub(crate) fn condensed(uses: Vec<Rows>, shape: [usize; 2], wanted: Squares) -> Vec<Rows> {
    let uses = uses.into_iter().map(in_memory).collect();
    let uses = joined_from(uses, 2);
    if wanted == Squares::Entries {
        let dense = uses.iter().map(Rows::to_dense);
        let sum = dense.reduce(|a, b| a + b).expect("at least one use");
        return vec![Rows::Dense(sum)];
    }
    let uses = uses.into_iter().map(|rows| match rows {
        Rows::Outer(outer) if outer.shape() != shape || outer.is_larger_than_dense() => {
            Rows::Dense(outer.to_dense())
        }
        rows => rows,
    });
    joined_from(uses.collect(), 2)
}

/// Work that reads every entry needs the errors of a head over a large vocabulary in memory.
fn in_memory(rows: Rows) -> Rows {
    match rows {
        Rows::Vocabulary(rows) => Rows::Outer(rows.to_outer()),
        rows => rows,
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;

    fn outer(t: usize) -> Rows {
        let noise = |shape: [usize; 3]| {
            Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
        };
        Rows::outer(noise([3, t, 6]), noise([3, t, 5]))
    }

    fn sum(uses: &[Rows]) -> Tensor<2> {
        let dense = uses.iter().map(Rows::to_dense);
        dense.reduce(|a, b| a + b).unwrap()
    }

    #[test]
    fn rows_take_the_smaller_form_and_stay_the_same() {
        // 30 entries against 11 numbers per position.
        for (uses, wanted, dense) in [
            (vec![outer(1)], Squares::Margins, false),
            (vec![outer(2)], Squares::Margins, false),
            (vec![outer(3)], Squares::Margins, true),
            (vec![outer(1), outer(1)], Squares::Margins, false),
            (vec![outer(1), outer(2)], Squares::Margins, true),
            (vec![outer(1)], Squares::Entries, true),
        ] {
            let expected = sum(&uses);
            let found = condensed(uses, [6, 5], wanted);
            assert_eq!(found.len(), 1);
            assert_eq!(matches!(found[0], Rows::Dense(_)), dense);
            let difference: f32 = (sum(&found) - expected).abs().max().into_scalar();
            assert!(difference < 1e-5, "{difference}");
        }
        // Factors of another matrix than the parameter.
        assert!(matches!(
            condensed(vec![outer(1)], [1, 30], Squares::Margins)[..],
            [Rows::Dense(_)]
        ));
    }
}
