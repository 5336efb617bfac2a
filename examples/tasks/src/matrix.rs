//! Small dense matrices on the host, in f64.

use faer::{Mat, Side};

/// `U f(σ) Uᵀ` of a symmetric matrix with eigenvalues σ and eigenvectors U; NaN everywhere if it has no
/// decomposition, so that the run ends as one that diverged.
pub fn symmetric_function(matrix: &Mat<f64>, f: impl Fn(f64) -> f64) -> Mat<f64> {
    let size = matrix.nrows();
    let Ok(eigen) = matrix.self_adjoint_eigen(Side::Lower) else {
        return Mat::full(size, size, f64::NAN);
    };
    let (vectors, values) = (eigen.U(), eigen.S());
    let scaled = Mat::from_fn(size, size, |i, k| vectors[(i, k)] * f(values[k]));
    scaled * vectors.transpose()
}

/// The pseudo-inverse, without singular values of at most `cut` times the largest; NaN everywhere if there is no
/// decomposition.
pub fn pseudo_inverse(matrix: &Mat<f64>, cut: f64) -> Mat<f64> {
    let (rows, columns) = (matrix.nrows(), matrix.ncols());
    let Ok(svd) = matrix.thin_svd() else {
        return Mat::full(columns, rows, f64::NAN);
    };
    let (u, s, v) = (svd.U(), svd.S(), svd.V());
    let kept = u.ncols();
    let largest = (0..kept).map(|k| s[k]).fold(0.0, f64::max);
    let inverse = |x: f64| if x > cut * largest { 1.0 / x } else { 0.0 };
    let scaled = Mat::from_fn(columns, kept, |i, k| v[(i, k)] * inverse(s[k]));
    scaled * u.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_inverses_are_those_of_the_matrix() {
        let a = Mat::from_fn(3, 3, |i, j| {
            if i == j {
                3.0
            } else {
                1.0 / (1 + i + j) as f64
            }
        });
        let a: Mat<f64> = (&a + a.transpose()) * faer::Scale(0.5);
        let root = symmetric_function(&a, f64::sqrt);
        assert!((&root * &root - &a).norm_max() < 1e-12);
        let inverse = pseudo_inverse(&a, 1e-12);
        assert!((inverse * &a - Mat::<f64>::identity(3, 3)).norm_max() < 1e-12);
    }

    #[test]
    fn small_singular_values_are_left_out() {
        let flat = Mat::from_fn(2, 2, |i, j| if i == j { [2.0, 1e-9][i] } else { 0.0 });
        let inverse = pseudo_inverse(&flat, 1e-6);
        assert!((inverse[(0, 0)] - 0.5).abs() < 1e-12 && inverse[(1, 1)] == 0.0);
        assert_eq!(pseudo_inverse(&Mat::zeros(2, 2), 1e-6).norm_max(), 0.0);
    }

    #[test]
    fn what_cannot_be_decomposed_is_nan() {
        let wrong = Mat::full(2, 2, f64::NAN);
        assert!(symmetric_function(&wrong, |x| x)[(0, 0)].is_nan());
    }
}
