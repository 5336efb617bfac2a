//! Sums of squared entries over samples: along the rows and the columns of a parameter, or of every
//! entry.

use burn::tensor::{IndexingUpdateOp, Tensor};

use super::{Lookup, Outer, Rows, Side, TEMPORARY};

/// Which squares are added up, for a parameter as a matrix `[r, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Squares {
    /// Over every row of the matrix, `[r]`, and over every column, `[c]`.
    Margins,
    /// Over samples alone, `[r * c]`.
    Entries,
}

/// The squares of the sum of several uses, summed over samples. Row n counts with its entries
/// multiplied by `weights[n]`.
///
/// Factored rows are not materialised. If several uses cannot be put together, dense rows of a few
/// samples at a time are.
pub(crate) fn squares(
    uses: &[Rows],
    shape: [usize; 2],
    weights: &Tensor<1>,
    wanted: Squares,
) -> Vec<Tensor<1>> {
    match (uses, wanted) {
        ([Rows::Dense(rows)], _) => dense(rows.clone(), shape, weights.clone(), wanted),
        ([Rows::Outer(rows)], Squares::Margins) if rows.shape() == shape => rows.margins(weights),
        ([Rows::Lookup(rows)], Squares::Margins) if rows.shape() == shape => rows.margins(weights),
        _ => materialised(uses, shape, weights, wanted),
    }
}

fn dense(
    rows: Tensor<2>,
    [r, c]: [usize; 2],
    weights: Tensor<1>,
    wanted: Squares,
) -> Vec<Tensor<1>> {
    let sums = (rows * weights.unsqueeze_dim(1)).square().sum_dim(0);
    match wanted {
        Squares::Entries => vec![sums.squeeze_dim(0)],
        Squares::Margins => {
            let sums = sums.reshape([r, c]);
            let rows = sums.clone().sum_dim(1).squeeze_dim(1);
            vec![rows, sums.sum_dim(0).squeeze_dim(0)]
        }
    }
}

fn materialised(
    uses: &[Rows],
    shape: [usize; 2],
    weights: &Tensor<1>,
    wanted: Squares,
) -> Vec<Tensor<1>> {
    let [samples] = weights.dims();
    let sums = blocks(samples, shape[0] * shape[1]).map(|(start, count)| {
        let own = uses.iter().map(|rows| rows.narrow(start, count).to_dense());
        let rows = own.reduce(|a, b| a + b).expect("at least one use");
        dense(rows, shape, weights.clone().narrow(0, start, count), wanted)
    });
    added(sums)
}

/// Samples as (start, count), so that a temporary of `each` elements per sample has a bounded size.
fn blocks(samples: usize, each: usize) -> impl Iterator<Item = (usize, usize)> {
    let block = (TEMPORARY / each.max(1)).max(1);
    let starts = (0..samples).step_by(block);
    starts.map(move |start| (start, block.min(samples - start)))
}

fn added(sums: impl Iterator<Item = Vec<Tensor<1>>>) -> Vec<Tensor<1>> {
    let pairs = |a: Vec<Tensor<1>>, b| a.into_iter().zip(b).map(|(a, b)| a + b).collect();
    sums.reduce(pairs).expect("at least one sample")
}

impl Outer {
    /// `[i, o]`.
    pub(super) fn shape(&self) -> [usize; 2] {
        let ([_, _, i], [_, _, o]) = (self.left().dims(), self.right().dims());
        [i, o]
    }

    /// `Σ_n Σ_j (Σ_t left_nti right_ntj)²` for every i, and the same over i for every j.
    ///
    /// With one position per sample the sums over the other factor are its squared length. With more,
    /// `Σ_j (…)² = Σ_{t,u} left_nti left_nui (right_nt · right_nu)`.
    fn margins(&self, weights: &Tensor<1>) -> Vec<Tensor<1>> {
        let [_, positions, _] = self.left().dims();
        if positions == 1 {
            if let Some(margins) = self.flex_margins(weights) {
                return margins;
            }
            return self.weighted(weights).margins_of_one_position();
        }
        let samples = self.samples();
        added(
            blocks(samples, positions * positions).map(|(start, count)| {
                let weights = weights.clone().narrow(0, start, count);
                let rows = self.narrow(start, count).weighted(&weights);
                rows.margins_of_positions()
            }),
        )
    }

    /// With the errors multiplied, which shrink as a sample is fitted while its weight grows.
    fn weighted(&self, weights: &Tensor<1>) -> Self {
        let weights = weights.clone().reshape([self.samples(), 1, 1]);
        let (left, right) = match self.input_side() {
            Side::Left => (self.left(), self.right() * weights),
            Side::Right => (self.left() * weights, self.right()),
        };
        Self::new(left, right)
    }

    /// The margins of one position by the kernel for Flex; `None` on other devices.
    #[cfg(feature = "flex")]
    fn flex_margins(&self, weights: &Tensor<1>) -> Option<Vec<Tensor<1>>> {
        let (left, right) = (self.left().squeeze_dim(1), self.right().squeeze_dim(1));
        let margins = burn_flex_fused::product::outer_squares(&left, &right, weights)?;
        Some(margins.to_vec())
    }

    #[cfg(not(feature = "flex"))]
    fn flex_margins(&self, _: &Tensor<1>) -> Option<Vec<Tensor<1>>> {
        None
    }

    fn margins_of_one_position(self) -> Vec<Tensor<1>> {
        let square = |factor: Tensor<3>| factor.squeeze_dim::<2>(1).square();
        let (left, right) = (square(self.left()), square(self.right()));
        let lengths = |squares: &Tensor<2>| squares.clone().sum_dim(1).transpose();
        let (of_left, of_right) = (lengths(&left), lengths(&right));
        let rows = of_right.matmul(left).squeeze_dim(0);
        vec![rows, of_left.matmul(right).squeeze_dim(0)]
    }

    fn margins_of_positions(self) -> Vec<Tensor<1>> {
        let (left, right) = (self.left(), self.right());
        let margin = |own: &Tensor<3>, other: &Tensor<3>| {
            let [m, t, width] = own.dims();
            let products = other.clone().matmul(other.clone().swap_dims(1, 2));
            let sums = products.matmul(own.clone()) * own.clone();
            sums.reshape([m * t, width]).sum_dim(0).squeeze_dim(0)
        };
        vec![margin(&left, &right), margin(&right, &left)]
    }
}

impl Lookup {
    /// `[entries, o]`.
    pub(super) fn shape(&self) -> [usize; 2] {
        let [_, _, o] = self.right.dims();
        [self.entries, o]
    }

    /// Positions of a sample with the same index add up before they are squared.
    fn margins(&self, weights: &Tensor<1>) -> Vec<Tensor<1>> {
        let [samples, positions, _] = self.right.dims();
        added(
            blocks(samples, positions * positions).map(|(start, count)| {
                let weights = weights.clone().narrow(0, start, count);
                let right = self.right.clone().narrow(0, start, count);
                let right = right * weights.reshape([count, 1, 1]);
                let indices = self.indices.clone().narrow(0, start, count);
                let square = [count, positions, positions];
                let same = indices
                    .clone()
                    .reshape([count, positions, 1])
                    .expand(square);
                let same = same.equal(
                    indices
                        .clone()
                        .reshape([count, 1, positions])
                        .expand(square),
                );
                let sums = same.float().cast(right.dtype()).matmul(right.clone());
                let [_, _, width] = right.dims();
                let products = (right * sums).reshape([count * positions, width]);
                let of_rows: Tensor<1> = products.clone().sum_dim(1).squeeze_dim(1);
                let none = Tensor::zeros([self.entries], (&of_rows.device(), of_rows.dtype()));
                let indices = indices.reshape([count * positions]);
                let rows = none.select_assign(0, indices, of_rows, IndexingUpdateOp::Add);
                vec![rows, products.sum_dim(0).squeeze_dim(0)]
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Int};
    use proptest::prelude::*;

    use super::*;

    fn noise<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    fn indices(m: usize, t: usize, entries: usize) -> Tensor<2, Int> {
        let uniform = Distribution::Uniform(0.0, entries as f64);
        Tensor::<2>::random([m, t], uniform, &Device::flex()).int()
    }

    /// Against dense rows in f64 on the host.
    fn check(uses: &[Rows], shape: [usize; 2]) -> Result<(), TestCaseError> {
        let [r, c] = shape;
        let weights = noise([uses[0].samples()]);
        let rows = uses
            .iter()
            .map(Rows::to_dense)
            .reduce(|a, b| a + b)
            .unwrap();
        let rows: Vec<f32> = rows.into_data().try_to_vec().unwrap();
        let factors: Vec<f32> = weights.clone().into_data().try_to_vec().unwrap();
        let mut entries = vec![0.0; r * c];
        for (row, w) in rows.chunks(r * c).zip(factors) {
            for (sum, x) in entries.iter_mut().zip(row) {
                *sum += f64::from(x * w).powi(2);
            }
        }
        let by_row = (0..r).map(|i| entries[i * c..(i + 1) * c].iter().sum());
        let by_column = (0..c).map(|j| (0..r).map(|i| entries[i * c + j]).sum());
        let margins = vec![by_row.collect::<Vec<f64>>(), by_column.collect()];
        for (wanted, expected) in [
            (Squares::Margins, margins),
            (Squares::Entries, vec![entries]),
        ] {
            let found = squares(uses, shape, &weights, wanted);
            prop_assert_eq!(found.len(), expected.len());
            for (found, expected) in found.into_iter().zip(expected) {
                let found: Vec<f32> = found.into_data().try_to_vec().unwrap();
                prop_assert_eq!(found.len(), expected.len());
                // Terms of about one may cancel.
                let size = expected.iter().copied().fold(1.0, f64::max);
                for (a, b) in found.iter().zip(&expected) {
                    prop_assert!((f64::from(*a) - b).abs() < 1e-4 * size, "{a} {b}");
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_form_has_the_squares_of_its_dense_rows(
            m in 1..6usize, t in 1..6usize, u in 1..4usize, i in 1..9usize, o in 1..9usize,
            transposed in any::<bool>(),
        ) {
            let outer = |t| {
                let (left, right) = (noise([m, t, i]), noise([m, t, o]));
                if transposed {
                    Rows::outer_transposed(left, right)
                } else {
                    Rows::outer(left, right)
                }
            };
            let look_up = |t| Rows::Lookup(Lookup::new(indices(m, t, i), noise([m, t, o]), i));
            let dense = || Rows::dense(noise([m, i * o]));
            check(&[outer(t)], [i, o])?;
            check(&[outer(1)], [i, o])?;
            check(&[look_up(t)], [i, o])?;
            check(&[dense()], [i, o])?;
            // Another view of the entries than that of the factors.
            check(&[outer(t)], [1, i * o])?;
            check(&[look_up(t), outer(u)], [i, o])?;
            check(&[outer(t), dense(), outer(u)], [i, o])?;
        }
    }

    /// On Flex a kernel takes the place of Burn's operations.
    #[test]
    fn one_position_is_the_same_without_the_kernel() {
        let outer = Outer::new(noise([5, 1, 7]), noise([5, 1, 4]));
        let weights = noise([5]);
        let plain = outer.weighted(&weights).margins_of_one_position();
        for (a, b) in outer.margins(&weights).into_iter().zip(plain) {
            let error: f32 = (a - b.clone()).abs().max().into_scalar();
            assert!(error < 1e-5 * b.max().into_scalar::<f32>(), "{error}");
        }
    }

    #[test]
    fn blocks_cover_the_samples() {
        assert_eq!(blocks(5, 1).collect::<Vec<_>>(), [(0, 5)]);
        let each = TEMPORARY / 2;
        assert_eq!(
            blocks(5, each).collect::<Vec<_>>(),
            [(0, 2), (2, 2), (4, 1)]
        );
        assert_eq!(
            blocks(2, 4 * TEMPORARY).collect::<Vec<_>>(),
            [(0, 1), (1, 1)]
        );
    }
}
