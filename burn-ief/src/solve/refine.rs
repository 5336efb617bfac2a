//! Iterative refinement of the P x P solve, with residuals in twice the working precision.
//!
//! Forming ĴᵀĴ squares the condition number of Ĵ, and rounding the entries of g loses as much: a
//! row that is much shorter than the others is left with few digits. The residual g − Ĵᵀ(Ĵx) − λx from
//! the rows themselves has them, and a correction by the same factorisation brings x to them.

use crate::linalg::norm;

/// An unevaluated sum of two f64, about 32 digits.
#[derive(Clone, Copy, Default)]
struct Wide {
    high: f64,
    low: f64,
}

impl Wide {
    fn add(&mut self, x: f64) {
        let sum = self.high + x;
        let part = sum - self.high;
        self.low += (self.high - (sum - part)) + (x - part);
        self.high = sum;
    }

    fn add_product(&mut self, a: f64, b: f64) {
        let product = a * b;
        self.low += a.mul_add(b, -product);
        self.add(product);
    }

    fn value(self) -> f64 {
        self.high + self.low
    }
}

/// Jᵀ1 − Ĵᵀ(Ĵx + a) − λx.
fn residual(
    truth: &[Vec<f64>],
    drawn: &[Vec<f64>],
    ahead: &[f64],
    lambda: f64,
    x: &[f64],
) -> Vec<f64> {
    let mut left = vec![Wide::default(); x.len()];
    for (left, x) in left.iter_mut().zip(x) {
        left.add_product(-lambda, *x);
    }
    for row in truth {
        left.iter_mut().zip(row).for_each(|(left, a)| left.add(*a));
    }
    for (row, ahead) in drawn.iter().zip(ahead) {
        let mut image = Wide::default();
        image.add(*ahead);
        row.iter()
            .zip(x)
            .for_each(|(a, x)| image.add_product(*a, *x));
        for (left, a) in left.iter_mut().zip(row) {
            left.add_product(-image.high, *a);
            left.add_product(-image.low, *a);
        }
    }
    left.into_iter().map(Wide::value).collect()
}

/// Improve a solution x of `(ĴᵀĴ + λI) x = Jᵀ1 − Ĵᵀa`, with a the image of a start; `solve` is that
/// which gave x.
pub(crate) fn refine(
    mut x: Vec<f64>,
    truth: &[Vec<f64>],
    drawn: &[Vec<f64>],
    ahead: &[f64],
    lambda: f64,
    solve: impl Fn(&[f64]) -> Vec<f64>,
) -> Vec<f64> {
    const STEPS: usize = 10;
    // Corrections that do not shrink mean that the factorisation has no digit to work with.
    let mut allowed = 0.5 * norm(&x);
    for _ in 0..STEPS {
        let correction = solve(&residual(truth, drawn, ahead, lambda, &x));
        let size = norm(&correction);
        // NaN ends here as well.
        if size.is_nan() || size > allowed {
            break;
        }
        x.iter_mut().zip(&correction).for_each(|(x, c)| *x += c);
        if size <= f64::EPSILON * norm(&x) {
            break;
        }
        allowed = 0.5 * size;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{Cholesky, Symmetric};

    #[test]
    fn a_short_row_keeps_its_digits() {
        // One drawn row is 1e-5 of the other. With rows (a, 0) and (b, b), true rows (r, 0) and
        // (t, t), and λ = 0: x = (r/a², t/b² − r/a²) by hand.
        let (a, b, r, t) = (1.3e-5, 1.7, 0.3, -0.6);
        let truth = [vec![r, 0.0], vec![t, t]];
        let drawn = [vec![a, 0.0], vec![b, b]];
        let fisher = Symmetric::new(2, vec![a * a + b * b, b * b, b * b, b * b]);
        let cholesky = Cholesky::new(&fisher).unwrap();
        let expected = [r / (a * a), t / (b * b) - r / (a * a)];
        let error = |x: &[f64]| {
            let difference = [x[0] - expected[0], x[1] - expected[1]];
            norm(&difference) / norm(&expected)
        };
        let plain = cholesky.solve(&[r + t, t]);
        assert!(error(&plain) > 1e-9, "{}", error(&plain));
        let refined = refine(plain, &truth, &drawn, &[0.0; 2], 0.0, |b| cholesky.solve(b));
        assert!(error(&refined) < 1e-14, "{}", error(&refined));
    }
}
