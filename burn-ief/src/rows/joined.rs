//! The uses of a parameter that was used many times, such as a cell that is called step by step.

use burn::tensor::Tensor;

use super::{Outer, Rows};

/// From how many factored uses on they are put together. Every two uses have inner products of their
/// own, so the Gram share of T uses takes T² products of small matrices. Put together, they are one
/// use with T times the positions, for which [`Outer`] takes the cheaper of its two ways. A few uses
/// of many positions do not gain enough to pay for the copy.
const JOINED: usize = 4;

/// The same rows from fewer uses: dense rows are added up, and many factored uses become one.
pub(crate) fn joined(uses: Vec<Rows>) -> Vec<Rows> {
    joined_from(uses, JOINED)
}

/// [`joined`], with at least this many factored uses put together.
pub(super) fn joined_from(uses: Vec<Rows>, fewest: usize) -> Vec<Rows> {
    if uses.len() < 2 {
        return uses;
    }
    let mut dense: Option<Tensor<2>> = None;
    let mut outer: Vec<Outer> = Vec::new();
    let mut others = Vec::new();
    for rows in uses {
        match rows {
            Rows::Dense(rows) => {
                dense = Some(match dense {
                    Some(sum) => sum + rows,
                    None => rows,
                });
            }
            Rows::Outer(rows) => outer.push(rows),
            rows => others.push(rows),
        }
    }
    if outer.len() >= fewest && outer.iter().all(|rows| rows.fits(&outer[0])) {
        others.push(Rows::Outer(Outer::joined(outer)));
    } else {
        others.extend(outer.into_iter().map(Rows::Outer));
    }
    others.extend(dense.map(Rows::Dense));
    others
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use super::*;

    fn noise<const D: usize>(dims: [usize; D]) -> Tensor<D> {
        Tensor::random(dims, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    fn sum(uses: &[Rows]) -> Tensor<2> {
        let dense = uses.iter().map(Rows::to_dense);
        dense.reduce(|a, b| a + b).unwrap()
    }

    fn outer(positions: usize, transposed: bool) -> Rows {
        let (i, o) = (noise([3, positions, 4]), noise([3, positions, 5]));
        if transposed {
            Rows::outer_transposed(i, o)
        } else {
            Rows::outer(i, o)
        }
    }

    fn same(a: Tensor<2>, b: Tensor<2>) {
        let difference: f32 = (a - b).abs().max().into_scalar();
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn many_uses_become_one() {
        let mut uses: Vec<_> = (1..=5).map(|positions| outer(positions, false)).collect();
        uses.extend([(); 3].map(|()| Rows::dense(noise([3, 20]))));
        let expected = sum(&uses);
        let joined = joined(uses);
        assert_eq!(joined.len(), 2);
        same(sum(&joined), expected);
        let Rows::Outer(rows) = &joined[0] else {
            panic!("factored rows come first");
        };
        assert_eq!(rows.left().dims(), [3, 15, 4]);
    }

    #[test]
    fn few_uses_and_different_sides_stay_apart() {
        let uses: Vec<_> = (0..3).map(|_| outer(1, false)).collect();
        assert_eq!(joined(uses).len(), 3);
        let uses: Vec<_> = (0..4).map(|n| outer(1, n == 2)).collect();
        let expected = sum(&uses);
        let joined = joined(uses);
        assert_eq!(joined.len(), 4);
        same(sum(&joined), expected);
    }
}
