//! Cholesky factorisation.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::{factor, inverse, solve};
use faer::{Auto, MatMut, MatRef, Par};

use super::Symmetric;

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
        // Both triangles are equal: rows stand for columns.
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
