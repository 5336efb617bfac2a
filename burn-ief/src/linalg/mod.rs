//! Small dense symmetric systems on the host, in f64.
//!
//! Batches are small (M is tens to a few thousand), so the M x M systems of the updates are read
//! to the host and solved there with [faer](https://docs.rs/faer). Nothing here knows about
//! samples or gradients.

mod eigen;
mod inverse_f32;
mod row_span;

use std::borrow::Cow;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::{factor, inverse, solve};
use faer::{Auto, MatMut, MatRef, Par};

use crate::error::Error;

pub use eigen::Eigen;
pub(crate) use inverse_f32::inverse_in_f32;
pub use row_span::RowSpan;

/// Rows and columns that are mirrored at once.
const TILE: usize = 32;
/// Partial sums of a dot product.
const LANES: usize = 16;

/// A symmetric matrix of f64 on the host, row-major.
///
/// ```
/// use burn_ief::solve::Symmetric;
///
/// let a = Symmetric::from_fn(2, |i, j| if i == j { 2.0 } else { 1.0 });
/// assert_eq!(a.mul(&[1.0, 0.0]), vec![2.0, 1.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Symmetric {
    size: usize,
    values: Vec<f64>,
}

impl Symmetric {
    /// From row-major values; the lower triangle counts, and is copied to the upper one.
    ///
    /// # Panics
    ///
    /// Panics if `values` does not hold `size * size` entries.
    pub fn new(size: usize, mut values: Vec<f64>) -> Self {
        assert_eq!(values.len(), size * size, "a {size} x {size} matrix");
        mirror(size, &mut values);
        Self { size, values }
    }

    /// From a function of row and column.
    pub fn from_fn(size: usize, f: impl Fn(usize, usize) -> f64) -> Self {
        let values = (0..size * size).map(|k| f(k / size, k % size)).collect();
        Self::new(size, values)
    }

    /// Number of rows.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The entry at row `i`, column `j`.
    pub fn get(&self, i: usize, j: usize) -> f64 {
        self.values[i * self.size + j]
    }

    /// The values, row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The values, row-major, by value.
    pub fn into_values(self) -> Vec<f64> {
        self.values
    }

    /// The diagonal.
    pub fn diagonal(&self) -> Vec<f64> {
        (0..self.size).map(|i| self.get(i, i)).collect()
    }

    /// Mean of the diagonal; 0 for an empty matrix.
    pub fn mean_diagonal(&self) -> f64 {
        self.diagonal().iter().sum::<f64>() / self.size.max(1) as f64
    }

    /// This matrix plus `shift` on the diagonal.
    pub fn shifted(mut self, shift: f64) -> Self {
        for i in 0..self.size {
            self.values[i * self.size + i] += shift;
        }
        self
    }

    /// The principal submatrix of the given rows and columns.
    ///
    /// All of them are the matrix itself, which is not copied.
    pub fn principal(&self, keep: &[usize]) -> Cow<'_, Self> {
        if keep.iter().copied().eq(0..self.size) {
            return Cow::Borrowed(self);
        }
        let entry = |i: usize, j: usize| self.get(keep[i], keep[j]);
        Cow::Owned(Self::from_fn(keep.len(), entry))
    }

    /// D A D with a diagonal D.
    pub fn scaled(&self, diagonal: &[f64]) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        let rows = self.values.chunks(self.size.max(1));
        for (row, di) in rows.zip(diagonal) {
            let entries = row.iter().zip(diagonal);
            values.extend(entries.map(|(value, dj)| value * (di * dj)));
        }
        Self { values, ..*self }
    }

    /// Matrix-vector product.
    ///
    /// # Panics
    ///
    /// Panics if `x` does not have [`size`](Self::size) entries.
    pub fn mul(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.size, "vector of the matrix's size");
        self.values
            .chunks(self.size.max(1))
            .map(|row| dot(row, x))
            .collect()
    }

    /// The inverse: by Cholesky, or, where the matrix is not positive definite in f64, the
    /// pseudo-inverse from its eigenvalues above the rounding threshold.
    ///
    /// # Errors
    ///
    /// [`Error::Eigen`] if an entry is NaN or infinite, or the iteration does not converge.
    pub fn inverse(&self) -> Result<Self, Error> {
        if let Some(cholesky) = Cholesky::new(self) {
            return Ok(cholesky.inverse());
        }
        let eigen = Eigen::new(self)?;
        let threshold = eigen.threshold();
        Ok(eigen.function(|value| if value > threshold { 1.0 / value } else { 0.0 }))
    }

    /// Both triangles are equal, so rows can be read as columns, which is the faster order.
    fn view(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.values, self.size, self.size)
    }
}

/// Dot product.
pub fn dot(x: &[f64], y: &[f64]) -> f64 {
    let (x, y) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let rest = x.remainder().iter().zip(y.remainder());
    let rest: f64 = rest.map(|(a, b)| a * b).sum();
    // Sums that do not wait for one another.
    let mut lanes = [0.0; LANES];
    for (x, y) in x.zip(y) {
        for (lane, (a, b)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// Copy the lower triangle of row-major values to the upper one.
fn mirror<T: Copy>(size: usize, values: &mut [T]) {
    // Tile by tile: a column of a large matrix misses the cache at every entry.
    for rows in (0..size).step_by(TILE) {
        for columns in (0..=rows).step_by(TILE) {
            for i in rows..(rows + TILE).min(size) {
                for j in columns..(columns + TILE).min(i) {
                    values[j * size + i] = values[i * size + j];
                }
            }
        }
    }
}

/// Euclidean norm.
pub fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

/// A Cholesky factorisation A = L Lᵀ.
pub struct Cholesky {
    size: usize,
    /// L, column-major; what lies above the diagonal is not part of it.
    factor: Vec<f64>,
    condition: f64,
}

impl Cholesky {
    /// Factorise; `None` if the matrix is not positive definite in f64.
    pub fn new(a: &Symmetric) -> Option<Self> {
        Self::shifted(a, 0.0)
    }

    /// Factorise A + shift I; `None` if it is not positive definite in f64.
    pub fn shifted(a: &Symmetric, shift: f64) -> Option<Self> {
        let size = a.size();
        // Both triangles are equal, so rows can be read as columns.
        let mut values = a.clone().shifted(shift).into_values();
        let l = MatMut::from_column_major_slice_mut(&mut values, size, size);
        factorise(l)?;
        let pivots = (0..size).map(|i| values[i * size + i]);
        let low = pivots.clone().fold(f64::INFINITY, f64::min);
        let high = pivots.fold(0.0f64, f64::max);
        let condition = match size {
            0 => 1.0,
            _ => (high / low).powi(2),
        };
        condition.is_finite().then_some(Self {
            size,
            factor: values,
            condition,
        })
    }

    /// Squared ratio of the largest to the smallest pivot: a lower bound of the condition number.
    pub fn condition(&self) -> f64 {
        self.condition
    }

    /// Solve A x = b.
    ///
    /// # Panics
    ///
    /// Panics if `b` does not have an entry per row.
    pub fn solve(&self, b: &[f64]) -> Vec<f64> {
        assert_eq!(b.len(), self.size, "vector of the matrix's size");
        let mut x = b.to_vec();
        with_memory(
            solve::solve_in_place_scratch::<f64>(self.size, 1, Par::Seq),
            |stack| {
                let x = MatMut::from_column_major_slice_mut(&mut x, self.size, 1);
                solve::solve_in_place(self.lower(), x, Par::Seq, stack);
            },
        );
        x
    }

    /// A⁻¹.
    pub fn inverse(&self) -> Symmetric {
        let size = self.size;
        let mut values = vec![0.0; size * size];
        with_memory(inverse::inverse_scratch::<f64>(size, Par::Seq), |stack| {
            let out = MatMut::from_row_major_slice_mut(&mut values, size, size);
            inverse::inverse(out, self.lower(), Par::Seq, stack);
        });
        Symmetric::new(size, values)
    }

    fn lower(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.factor, self.size, self.size)
    }
}

/// Put L in the place of the lower triangle of A = L Lᵀ; `None` if A is not positive definite in f64.
pub(crate) fn factorise(a: MatMut<'_, f64>) -> Option<()> {
    let params = <factor::LltParams as Auto<f64>>::auto();
    let need = factor::cholesky_in_place_scratch::<f64>(a.nrows(), Par::Seq, params.into());
    with_memory(need, |stack| {
        factor::cholesky_in_place(a, Default::default(), Par::Seq, stack, params.into())
    })
    .ok()
    .map(|_| ())
}

fn with_memory<T>(need: faer::dyn_stack::StackReq, f: impl FnOnce(&mut MemStack) -> T) -> T {
    f(MemStack::new(&mut MemBuffer::new(need)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{dot, norm};
    use proptest::prelude::*;

    fn gram(rows: &[Vec<f64>]) -> Symmetric {
        Symmetric::from_fn(rows.len(), |i, j| dot(&rows[i], &rows[j]))
    }

    #[test]
    fn pseudo_inverse_of_a_singular_matrix_is_the_minimum_norm_solution() {
        // Rank one, [1 1; 1 1]: the minimum-norm solution of A x = (1, 1) is (1/2, 1/2).
        let eigen = Eigen::new(&Symmetric::from_fn(2, |_, _| 1.0)).unwrap();
        let cut = eigen.threshold();
        let x = eigen.apply(&[1.0, 1.0], |v| if v > cut { 1.0 / v } else { 0.0 });
        assert!(
            (x[0] - 0.5).abs() < 1e-14 && (x[1] - 0.5).abs() < 1e-14,
            "{x:?}"
        );
    }

    #[test]
    fn the_lower_triangle_counts() {
        let size = 2 * TILE + 5;
        let entry = |i: usize, j: usize| (i * size + j) as f64;
        let values: Vec<f64> = (0..size * size)
            .map(|k| (k / size, k % size))
            .map(|(i, j)| if j <= i { entry(i, j) } else { f64::NAN })
            .collect();
        let expected = Symmetric::from_fn(size, |i, j| entry(i.max(j), i.min(j)));
        assert_eq!(Symmetric::new(size, values), expected);
    }

    #[test]
    fn dot_products_of_any_length() {
        for length in [0, 1, LANES - 1, LANES, 3 * LANES + 2] {
            let x: Vec<f64> = (0..length).map(|i| i as f64).collect();
            let expected: usize = (0..length).map(|i| i * i).sum();
            assert_eq!(dot(&x, &x), expected as f64);
        }
    }

    #[test]
    fn eigen_of_nan_is_an_error() {
        assert!(Eigen::new(&Symmetric::from_fn(3, |_, _| f64::NAN)).is_err());
    }

    #[test]
    fn inverses_of_regular_and_singular_matrices() {
        let a = Symmetric::from_fn(3, |i, j| if i == j { 3.0 } else { 1.0 });
        let inverse = a.inverse().unwrap();
        for j in 0..3 {
            let column = a.mul(&(0..3).map(|i| inverse.get(i, j)).collect::<Vec<_>>());
            for (i, value) in column.into_iter().enumerate() {
                assert!((value - f64::from(u8::from(i == j))).abs() < 1e-14);
            }
        }
        // [1 1; 1 1] has the pseudo-inverse [1 1; 1 1] / 4; zero that of zero.
        let half = Symmetric::from_fn(2, |_, _| 1.0).inverse().unwrap();
        assert!(half.values().iter().all(|x| (x - 0.25).abs() < 1e-14));
        let zero = Symmetric::from_fn(2, |_, _| 0.0).inverse().unwrap();
        assert_eq!(zero.values(), [0.0; 4]);
        assert!(Symmetric::from_fn(2, |_, _| f64::NAN).inverse().is_err());
    }

    proptest! {
        #[test]
        fn cholesky_and_eigen_agree(
            rows in proptest::collection::vec(proptest::collection::vec(-1.0..1.0f64, 12), 1..9),
            shift in 1e-3..1.0f64,
        ) {
            let a = gram(&rows).shifted(shift);
            let b: Vec<f64> = (0..rows.len()).map(|i| i as f64 - 1.5).collect();
            let x = Cholesky::new(&a).unwrap().solve(&b);
            let y = Eigen::new(&a).unwrap().apply(&b, |v| 1.0 / v);
            let scale = 1.0 + norm(&x);
            prop_assert!(x.iter().zip(&y).all(|(p, q)| (p - q).abs() < 1e-9 * scale));
            let residual: Vec<f64> = a.mul(&x).iter().zip(&b).map(|(p, q)| p - q).collect();
            prop_assert!(norm(&residual) < 1e-10 * scale);
        }
    }

    /// Well conditioned, with entries that no sampler has to draw.
    fn regular(size: usize) -> Symmetric {
        let entry = |i: usize, j: usize| (1.0 + (i * j) as f64).sin() / size as f64;
        Symmetric::from_fn(size, |i, j| entry(i, j) + if i == j { 2.0 } else { 0.0 })
    }

    #[test]
    fn an_indefinite_matrix_is_refused() {
        let a = Symmetric::from_fn(2, |i, j| if i == j { 1.0 } else { 2.0 });
        assert!(Cholesky::new(&a).is_none());
        assert!(Cholesky::shifted(&a, 1.5).is_some());
        let nan = Symmetric::from_fn(2, |_, _| f64::NAN);
        assert!(Cholesky::new(&nan).is_none());
    }

    #[test]
    fn solutions_solve() {
        for size in [0, 1, 5, 64, 771] {
            let a = regular(size);
            let b: Vec<f64> = (0..size).map(|i| (i as f64).cos()).collect();
            let x = Cholesky::shifted(&a, 0.5).unwrap().solve(&b);
            let image = a.shifted(0.5).mul(&x);
            let residual: Vec<f64> = image.iter().zip(&b).map(|(p, q)| p - q).collect();
            assert!(norm(&residual) <= 1e-13 * norm(&b), "{size}");
        }
    }

    #[test]
    fn the_inverse_is_one_from_both_sides() {
        for size in [1, 7, 200] {
            let a = regular(size);
            let inverse = Cholesky::new(&a).unwrap().inverse();
            for k in [0, size / 2, size - 1] {
                let row = &inverse.values()[k * size..(k + 1) * size];
                let image = a.mul(row);
                assert!((image[k] - 1.0).abs() < 1e-13);
                assert!((dot(&image, &image) - 1.0).abs() < 1e-12);
            }
        }
    }
}
