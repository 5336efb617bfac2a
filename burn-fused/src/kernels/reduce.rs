//! Reductions of one row, in a fixed number of partial results that the compiler keeps in vectors.

use super::real::Real;

/// Partial results.
pub(crate) const LANES: usize = 16;

/// Add up `lanes`.
#[inline(always)]
fn total<E: Real>(lanes: [E; LANES]) -> E {
    let mut sum = E::ZERO;
    for lane in lanes {
        sum += lane;
    }
    sum
}

/// `Σ f(x)`.
#[inline(always)]
pub(crate) fn sum_of<E: Real>(x: &[E], f: impl Fn(E) -> E) -> E {
    let mut lanes = [E::ZERO; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for i in 0..LANES {
            lanes[i] += f(x[i]);
        }
    }
    let mut sum = E::ZERO;
    for &x in rest {
        sum += f(x);
    }
    total(lanes) + sum
}

/// `Σ f(x, y)`, for rows of one length.
#[inline(always)]
pub(crate) fn sum_of_two<E: Real>(x: &[E], y: &[E], f: impl Fn(E, E) -> E) -> E {
    let mut lanes = [E::ZERO; LANES];
    let ((whole, rest), (whole_y, rest_y)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in whole.iter().zip(whole_y) {
        for i in 0..LANES {
            lanes[i] += f(x[i], y[i]);
        }
    }
    let mut sum = E::ZERO;
    for (&x, &y) in rest.iter().zip(rest_y) {
        sum += f(x, y);
    }
    total(lanes) + sum
}

/// The largest entry that is a number; `-inf` if there is none.
#[inline(always)]
pub(crate) fn max<E: Real>(x: &[E]) -> E {
    let larger = |a: E, b: E| if b > a { b } else { a };
    let mut lanes = [E::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], x[i]);
        }
    }
    let mut max = E::NEG_INFINITY;
    for lane in lanes {
        max = larger(max, lane);
    }
    for &x in rest {
        max = larger(max, x);
    }
    max
}

/// Replace every entry by `exp(x - max)` and return their sum.
#[inline(always)]
pub(crate) fn exp_and_sum<E: Real>(x: &mut [E], max: E) -> E {
    let mut lanes = [E::ZERO; LANES];
    let (whole, rest) = x.as_chunks_mut::<LANES>();
    for x in whole {
        for i in 0..LANES {
            x[i] = (x[i] - max).exp_down();
            lanes[i] += x[i];
        }
    }
    let mut sum = E::ZERO;
    for x in rest {
        *x = (*x - max).exp_down();
        sum += *x;
    }
    total(lanes) + sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_length_are_reduced() {
        for length in [0, 1, 15, 16, 17, 40] {
            let x: Vec<f64> = (0..length).map(|i| f64::from(i) - 7.0).collect();
            let sum: f64 = x.iter().sum();
            assert_eq!(sum_of(&x, |x| x), sum);
            let squares: f64 = x.iter().map(|x| x * x).sum();
            assert_eq!(sum_of_two(&x, &x, |a, b| a * b), squares);
            let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert_eq!(max(&x), most);
            let mut y = x.clone();
            let sum = exp_and_sum(&mut y, most);
            let exact: f64 = x.iter().map(|x| (x - most).exp()).sum();
            assert!((sum - exact).abs() <= 1e-14 * exact, "{length}");
        }
    }

    #[test]
    fn the_maximum_leaves_out_what_is_no_number() {
        assert_eq!(max(&[f32::NAN, 2.0, 1.0]), 2.0);
        assert!(exp_and_sum(&mut [f32::NAN, 2.0], 2.0).is_nan());
    }
}
