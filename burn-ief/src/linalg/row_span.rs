//! Functions of XᵀX within the span of the rows of X.

use faer::{Mat, MatRef};

use super::Symmetric;
use crate::error::Error;

/// The singular values of a matrix X and the directions that its rows span.
///
/// Squaring X first would bury directions of less than √ε of its size under rounding, or cut them
/// off with it; here they are separated from rounding down to ε.
pub struct RowSpan {
    /// Orthonormal columns.
    directions: Mat<f64>,
    singular: Vec<f64>,
}

impl RowSpan {
    /// Of row-major values with this many columns.
    ///
    /// # Errors
    ///
    /// [`Error::Eigen`] if an entry is NaN or infinite, or the iteration does not converge.
    ///
    /// # Panics
    ///
    /// Panics if `values` does not hold whole rows.
    pub fn new(columns: usize, values: &[f64]) -> Result<Self, Error> {
        let rows = values.len() / columns.max(1);
        assert_eq!(values.len(), rows * columns, "rows of {columns} entries");
        let failed = || Error::Eigen { size: columns };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(failed());
        }
        let x = MatRef::from_row_major_slice(values, rows, columns);
        let svd = x.thin_svd().map_err(|_| failed())?;
        let all: Vec<f64> = (0..rows.min(columns)).map(|k| svd.S()[k]).collect();
        let largest = all.iter().copied().fold(0.0, f64::max);
        let threshold = rows.max(columns) as f64 * f64::EPSILON * largest;
        let singular: Vec<f64> = all.into_iter().filter(|&s| s > threshold).collect();
        // Singular values fall: those above the threshold come first.
        let directions = svd.V().subcols(0, singular.len()).to_owned();
        Ok(Self {
            directions,
            singular,
        })
    }

    /// Number of directions.
    pub fn rank(&self) -> usize {
        self.singular.len()
    }

    /// Mean diagonal of XᵀX.
    pub fn mean_square(&self) -> f64 {
        let total: f64 = self.singular.iter().map(|s| s * s).sum();
        total / self.directions.nrows().max(1) as f64
    }

    /// f of the eigenvalues of XᵀX within the span, zero outside.
    pub fn function(&self, f: impl Fn(f64) -> f64) -> Symmetric {
        let (size, rank) = (self.directions.nrows(), self.rank());
        let weights: Vec<f64> = self.singular.iter().map(|s| f(s * s)).collect();
        let scaled = Mat::from_fn(size, rank, |i, k| self.directions[(i, k)] * weights[k]);
        let product = &scaled * self.directions.transpose();
        Symmetric::from_fn(size, |i, j| product[(i, j)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{Eigen, dot};
    use proptest::prelude::*;

    /// Rows 1e-9 apart: XᵀX has an eigenvalue of 1e-18, which its own entries cannot hold.
    #[test]
    fn nearly_equal_rows_span_two_directions() {
        let span = RowSpan::new(2, &[1.0, 0.0, 1.0, 1e-9]).unwrap();
        assert_eq!(span.rank(), 2);
        let shifted = span.function(|value| 1.0 / (value + 1e-12));
        assert!((shifted.get(1, 1) * 1e-12 - 1.0).abs() < 1e-3);
        let span = RowSpan::new(2, &[1.0, 0.0, 1.0, 1e-17]).unwrap();
        assert_eq!(span.rank(), 1);
    }

    #[test]
    fn two_rows_along_one_direction_span_it() {
        let span = RowSpan::new(2, &[1.0, 1.0, 2.0, 2.0]).unwrap();
        assert_eq!(span.rank(), 1);
        // The mean diagonal of XᵀX, and its pseudo-inverse.
        assert!((span.mean_square() - 5.0).abs() < 1e-12);
        let inverse = span.function(|eigenvalue| 1.0 / eigenvalue);
        assert!((inverse.get(0, 1) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn nothing_spans_nothing() {
        for values in [vec![0.0; 6], Vec::new()] {
            let span = RowSpan::new(3, &values).unwrap();
            assert_eq!((span.rank(), span.mean_square()), (0, 0.0));
            assert_eq!(span.function(|_| 1.0).values(), [0.0; 9]);
        }
        assert!(RowSpan::new(1, &[f64::NAN]).is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_the_eigenvalues_of_the_product(
            rows in proptest::collection::vec(proptest::collection::vec(-1.0..1.0f64, 5), 1..9),
            shift in 1e-3..1.0f64,
        ) {
            let span = RowSpan::new(5, &rows.concat()).unwrap();
            let column = |j: usize| rows.iter().map(|row| row[j]).collect::<Vec<_>>();
            let product = Symmetric::from_fn(5, |i, j| dot(&column(i), &column(j)));
            prop_assert!((span.mean_square() - product.mean_diagonal()).abs() < 1e-12);
            let outside = Eigen::new(&product).unwrap();
            let threshold = 1e-12;
            let expected = outside.function(|v| if v > threshold { 1.0 / (v + shift) } else { 0.0 });
            let found = span.function(|v| if v > threshold { 1.0 / (v + shift) } else { 0.0 });
            for (a, b) in found.values().iter().zip(expected.values()) {
                prop_assert!((a - b).abs() < 1e-8 / shift, "{a} {b}");
            }
        }
    }
}
