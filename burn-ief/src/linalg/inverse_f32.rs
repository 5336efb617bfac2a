//! Inverses of large matrices in f32, with a check.
//!
//! In f32 an inversion takes half the time and half the memory. Its error grows with the condition
//! of the matrix, which a damped factor keeps small; where it does not, the check shows it.

use faer::linalg::cholesky::llt::{factor, inverse};
use faer::{Auto, MatMut, MatRef, Par};

use super::{mirror, with_memory};

/// Largest root mean square of the entries of `(A X − I) v`, for a vector v of ±1.
const TOLERANCE: f64 = 1e-3;

/// `(A + shift I)⁻¹` for row-major values of a symmetric A; `None` if f32 is not precise enough for it.
pub fn inverse_in_f32(size: usize, a: &[f32], shift: f64) -> Option<Vec<f32>> {
    assert_eq!(a.len(), size * size, "a {size} x {size} matrix");
    let mut damped = a.to_vec();
    for i in 0..size {
        damped[i * size + i] = (f64::from(damped[i * size + i]) + shift) as f32;
    }
    let mut l = damped.clone();
    let params = <factor::LltParams as Auto<f32>>::auto();
    let need = factor::cholesky_in_place_scratch::<f32>(size, Par::Seq, params.into());
    with_memory(need, |stack| {
        let l = MatMut::from_column_major_slice_mut(&mut l, size, size);
        factor::cholesky_in_place(l, Default::default(), Par::Seq, stack, params.into())
    })
    .ok()?;
    let mut x = vec![0.0f32; size * size];
    with_memory(inverse::inverse_scratch::<f32>(size, Par::Seq), |stack| {
        let l = MatRef::from_column_major_slice(&l, size, size);
        let x = MatMut::from_row_major_slice_mut(&mut x, size, size);
        inverse::inverse(x, l, Par::Seq, stack);
    });
    drop(l);
    mirror(size, &mut x);

    let v: Vec<f64> = (0..size).map(sign).collect();
    let y = mul(size, &damped, &mul(size, &x, &v));
    let residual = y.iter().zip(&v).map(|(y, v)| (y - v).powi(2)).sum::<f64>();
    let error = (residual / size.max(1) as f64).sqrt();
    // Not true of NaN either.
    (error <= TOLERANCE).then_some(x)
}

/// Entries ±1 without a pattern that a matrix could share (a linear congruential generator).
fn sign(i: usize) -> f64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if (mixed ^ (mixed >> 29)) & (1 << 31) == 0 {
        1.0
    } else {
        -1.0
    }
}

/// `A v`, added up in f64.
fn mul(size: usize, a: &[f32], v: &[f64]) -> Vec<f64> {
    let rows = a.chunks_exact(size.max(1));
    rows.map(|row| row.iter().zip(v).map(|(a, v)| f64::from(*a) * v).sum())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Symmetric;
    use super::*;

    /// `XᵀX` of rows with entries of different sizes.
    fn moment(size: usize, rows: usize) -> Vec<f32> {
        let entry = |r: usize, i: usize| sign(r * size + i) * (1.0 + (i % 7) as f64) / 4.0;
        let mut a = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..size {
                let sum: f64 = (0..rows).map(|r| entry(r, i) * entry(r, j)).sum();
                a[i * size + j] = (sum / rows as f64) as f32;
            }
        }
        a
    }

    #[test]
    fn it_is_the_inverse_in_f64_to_the_precision_of_f32() {
        for (size, rows) in [(1, 1), (5, 9), (90, 20)] {
            let a = moment(size, rows);
            let shift = 0.05;
            let x = inverse_in_f32(size, &a, shift).unwrap();
            let wide = a.iter().map(|&x| f64::from(x)).collect();
            let expected = Symmetric::new(size, wide).shifted(shift).inverse().unwrap();
            let largest = expected.values().iter().fold(0.0f64, |m, x| m.max(x.abs()));
            for (x, expected) in x.iter().zip(expected.values()) {
                assert!((f64::from(*x) - expected).abs() < 1e-4 * largest);
            }
        }
    }

    #[test]
    fn what_f32_cannot_invert_is_left_to_f64() {
        let a = moment(90, 20);
        // Of rank 20, with a shift below the rounding errors of its entries.
        assert_eq!(inverse_in_f32(90, &a, 1e-9), None);
        let mut a = moment(5, 9);
        a[7] = f32::NAN;
        assert_eq!(inverse_in_f32(5, &a, 0.05), None);
    }
}
