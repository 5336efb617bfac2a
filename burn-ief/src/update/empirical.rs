//! EF and iEF.

use super::solve::solve;
use super::{Coefficients, Damping, On};
use crate::error::Error;
use crate::linalg::Symmetric;
use crate::update::check_start;

/// Empirical Fisher: `Δ = Jᵀ (K + λI)⁻¹ 1` (eq. 5).
///
/// Every sample's loss falls by the same amount. `gram` is K = J Jᵀ in sum form, `epsilon` the
/// precision it was accumulated in ([`Jacobian::gram_epsilon`]), `cosine` the optional filter of
/// near-parallel rows (see [`ief`]).
///
/// [`Jacobian::gram_epsilon`]: crate::jacobian::Jacobian::gram_epsilon
///
/// ```
/// use burn_ief::linalg::Symmetric;
/// use burn_ief::update::{Damping, ef};
///
/// let gram = Symmetric::from_fn(2, |i, j| if i == j { 4.0 } else { 0.0 });
/// let update = ef(&gram, &Damping::absolute(0.0), f64::EPSILON, None)?;
/// assert_eq!(update.values, [0.25, 0.25]);
/// assert_eq!(update.decrease, [1.0, 1.0]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Config`] for a negative damping, [`Error::Eigen`] if no solve converges.
pub fn ef(
    gram: &Symmetric,
    damping: &Damping,
    epsilon: f64,
    cosine: Option<f64>,
) -> Result<Coefficients, Error> {
    ef_from(gram, &vec![0.0; gram.size()], damping, epsilon, cosine)
}

/// [`ef`] with a start: `Δ = Δ₀ + Jᵀ (K + λI)⁻¹ (1 − JΔ₀)`, which minimises
/// `‖JΔ − 1‖² + λ ‖Δ − Δ₀‖²`.
///
/// `start` is JΔ₀, `[M]`; see [momentum in the solve](crate::update#momentum-in-the-solve). The
/// coefficients are those of `Δ − Δ₀`, everything else is that of Δ.
///
/// # Errors
///
/// As [`ef`]; [`Error::Size`] if `start` does not have an entry per row.
pub fn ef_from(
    gram: &Symmetric,
    start: &[f64],
    damping: &Damping,
    epsilon: f64,
    cosine: Option<f64>,
) -> Result<Coefficients, Error> {
    damping.validate()?;
    check_start(start, gram.size())?;
    let rows = Rows::choose(gram, |_| true, cosine);
    let k = gram.principal(&rows.kept);
    let (lambda, floor) = damping.resolve(k.mean_diagonal(), k.size(), epsilon);
    let target: Vec<f64> = rows.kept.iter().map(|&n| 1.0 - start[n]).collect();
    let (c, report) = solve(&k, &target, lambda, floor)?;
    let mut update = rows.finish(gram, &c, start, report);
    update.curvature = update.decrease.iter().map(|d| d * d).sum();
    Ok(update)
}

/// Improved empirical Fisher: `Δ = Jᵀ (K + λ diag(s))⁻¹ s` or, with [`On::Gram`],
/// `Jᵀ (K + λI)⁻¹ s` (eq. 8).
///
/// The loss of sample n falls by s_n = ‖∂l_n/∂z_n‖²: samples that are fitted already are left
/// alone. `cosine` drops, of any pair of rows with |cos| above it, the shorter one, as the
/// original implementation does with 0.99.
///
/// ```
/// use burn_ief::linalg::Symmetric;
/// use burn_ief::update::{Damping, ief};
///
/// let gram = Symmetric::from_fn(2, |i, j| if i == j { 4.0 } else { 0.0 });
/// let update = ief(&gram, &[2.0, 0.0], &Damping::absolute(0.0), f64::EPSILON, None)?;
/// assert!((update.values[0] - 0.5).abs() < 1e-12);
/// assert!((update.decrease[0] - 2.0).abs() < 1e-12);
/// assert_eq!(update.report.zero_rows, [1]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Size`] if `s` does not have an entry per row, [`Error::Config`] for a negative
/// damping, [`Error::Eigen`] if no solve converges.
pub fn ief(
    gram: &Symmetric,
    s: &[f64],
    damping: &Damping,
    epsilon: f64,
    cosine: Option<f64>,
) -> Result<Coefficients, Error> {
    ief_from(gram, s, &vec![0.0; gram.size()], damping, epsilon, cosine)
}

/// [`ief`] with a start: `Δ = Δ₀ + Jᵀ (K + λ diag(s))⁻¹ (s − JΔ₀)`, which minimises
/// `Σ_n ((JΔ)_n − s_n)² / s_n + λ ‖Δ − Δ₀‖²`; with [`On::Gram`] the system is that of eq. 8 and
/// the squares are not weighted.
///
/// `start` is JΔ₀, `[M]`; see [momentum in the solve](crate::update#momentum-in-the-solve). The
/// coefficients are those of `Δ − Δ₀`, everything else is that of Δ. A sample with s_n = 0 has no
/// equation.
///
/// # Errors
///
/// As [`ief`]; [`Error::Size`] if `start` does not have an entry per row.
pub fn ief_from(
    gram: &Symmetric,
    s: &[f64],
    start: &[f64],
    damping: &Damping,
    epsilon: f64,
    cosine: Option<f64>,
) -> Result<Coefficients, Error> {
    damping.validate()?;
    if s.len() != gram.size() {
        return Err(Error::Size {
            what: "output gradient norms",
            expected: gram.size(),
            found: s.len(),
        });
    }
    check_start(start, gram.size())?;
    let rows = Rows::choose(gram, |n| s[n] > 0.0, cosine);
    let s: Vec<f64> = rows.kept.iter().map(|&n| s[n]).collect();
    let ahead: Vec<f64> = rows.kept.iter().map(|&n| start[n]).collect();
    let k = gram.principal(&rows.kept);
    let (c, report) = match damping.on {
        On::Gram => {
            let (lambda, floor) = damping.resolve(k.mean_diagonal(), k.size(), epsilon);
            let target: Vec<f64> = s.iter().zip(&ahead).map(|(s, a)| s - a).collect();
            solve(&k, &target, lambda, floor)?
        }
        On::Fisher => {
            // (K + λS²)⁻¹ r = S⁻¹ (S⁻¹KS⁻¹ + λI)⁻¹ S⁻¹ r with S = diag(√s).
            let inverse: Vec<f64> = s.iter().map(|s| 1.0 / s.sqrt()).collect();
            let scaled = k.scaled(&inverse);
            let (lambda, floor) = damping.resolve(scaled.mean_diagonal(), s.len(), epsilon);
            let ahead = ahead.iter().zip(&inverse).map(|(a, i)| a * i);
            let target: Vec<f64> = s.iter().zip(ahead).map(|(s, a)| s.sqrt() - a).collect();
            let (c, report) = solve(&scaled, &target, lambda, floor)?;
            (c.iter().zip(&inverse).map(|(c, i)| c * i).collect(), report)
        }
    };
    let mut update = rows.finish(gram, &c, start, report);
    let decrease = rows.kept.iter().map(|&n| update.decrease[n]);
    update.curvature = decrease.zip(&s).map(|(d, s)| d * d / s).sum();
    Ok(update)
}

/// Which rows take part.
struct Rows {
    kept: Vec<usize>,
    zero: Vec<usize>,
    dropped: Vec<usize>,
}

impl Rows {
    fn choose(gram: &Symmetric, counts: impl Fn(usize) -> bool, cosine: Option<f64>) -> Self {
        let all = 0..gram.size();
        let (nonzero, zero): (Vec<_>, Vec<_>) =
            all.partition(|&n| gram.get(n, n) > 0.0 && counts(n));
        let (kept, dropped) = match cosine {
            Some(limit) => filter_parallel(gram, nonzero, limit),
            None => (nonzero, Vec::new()),
        };
        Self {
            kept,
            zero,
            dropped,
        }
    }

    fn finish(
        &self,
        gram: &Symmetric,
        c: &[f64],
        start: &[f64],
        report: super::SolveReport,
    ) -> Coefficients {
        let mut values = vec![0.0; gram.size()];
        for (&n, &c) in self.kept.iter().zip(c) {
            values[n] = c;
        }
        let added = gram.mul(&values);
        Coefficients {
            decrease: added
                .iter()
                .zip(start)
                .map(|(x, start)| x + start)
                .collect(),
            values,
            curvature: 0.0,
            report: super::SolveReport {
                zero_rows: self.zero.clone(),
                dropped: self.dropped.clone(),
                ..report
            },
        }
    }
}

/// Keep the longest rows of each near-parallel family.
fn filter_parallel(gram: &Symmetric, mut rows: Vec<usize>, limit: f64) -> (Vec<usize>, Vec<usize>) {
    rows.sort_by(|&a, &b| gram.get(b, b).total_cmp(&gram.get(a, a)).then(a.cmp(&b)));
    let mut kept: Vec<usize> = Vec::new();
    let mut dropped = Vec::new();
    for n in rows {
        let parallel = |&m: &usize| {
            let cosine = gram.get(n, m) / (gram.get(n, n) * gram.get(m, m)).sqrt();
            cosine.abs() > limit
        };
        match kept.iter().any(parallel) {
            true => dropped.push(n),
            false => kept.push(n),
        }
    }
    kept.sort_unstable();
    dropped.sort_unstable();
    (kept, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::dot;
    use proptest::prelude::*;

    const EXACT: f64 = f64::EPSILON;

    fn gram(rows: &[Vec<f64>]) -> Symmetric {
        Symmetric::from_fn(rows.len(), |i, j| dot(&rows[i], &rows[j]))
    }

    fn apply(rows: &[Vec<f64>], c: &[f64]) -> Vec<f64> {
        let width = rows[0].len();
        (0..width)
            .map(|p| rows.iter().zip(c).map(|(row, c)| c * row[p]).sum())
            .collect()
    }

    /// Relative distance of two vectors.
    fn distance(a: &[f64], b: &[f64]) -> f64 {
        let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        dot(&difference, &difference).sqrt() / dot(b, b).sqrt().max(1e-300)
    }

    fn rows(samples: usize, width: usize) -> impl Strategy<Value = Vec<Vec<f64>>> {
        proptest::collection::vec(proptest::collection::vec(-1.0..1.0f64, width), samples)
    }

    #[test]
    fn a_zero_row_does_not_touch_the_others() {
        let rows = vec![vec![1.0, 2.0], vec![0.0, 0.0], vec![-1.0, 0.5]];
        let without = vec![rows[0].clone(), rows[2].clone()];
        for damping in [
            Damping::absolute(0.0),
            Damping::absolute(1e-3),
            Damping::relative(0.1),
        ] {
            let update = ef(&gram(&rows), &damping, EXACT, None).unwrap();
            let expected = ef(&gram(&without), &damping, EXACT, None).unwrap();
            assert_eq!(update.report.zero_rows, [1]);
            assert_eq!(update.values[1], 0.0);
            assert_eq!([update.values[0], update.values[2]], expected.values[..]);
        }
    }

    #[test]
    fn undamped_duplicates_give_the_minimum_norm_solution() {
        let rows = vec![
            vec![1.0, 2.0, 0.0],
            vec![1.0, 2.0, 0.0],
            vec![0.0, 0.0, 3.0],
        ];
        let update = ef(&gram(&rows), &Damping::absolute(0.0), EXACT, None).unwrap();
        assert_eq!(update.report.route, super::super::SolveRoute::Eigen);
        assert_eq!(update.report.rank, 2);
        let expected = [0.1, 0.1, 1.0 / 9.0];
        assert!(
            distance(&update.values, &expected) < 1e-12,
            "{:?}",
            update.values
        );
    }

    #[test]
    fn the_cosine_filter_drops_the_shorter_of_two_parallel_rows() {
        let rows = vec![vec![1.0, 0.0], vec![2.0, 0.001], vec![0.0, 1.0]];
        let update = ef(&gram(&rows), &Damping::absolute(0.0), EXACT, Some(0.99)).unwrap();
        assert_eq!(update.report.dropped, [0]);
        assert_eq!(update.values[0], 0.0);
    }

    #[test]
    fn clipping_scales_to_the_radius() {
        let rows = vec![vec![1.0, 2.0], vec![0.5, -1.0]];
        let mut update = ef(&gram(&rows), &Damping::absolute(0.0), EXACT, None).unwrap();
        // JΔ = 1, so ΔᵀF̃Δ = 2 and ½ of it is 1.
        assert!((update.curvature - 2.0).abs() < 1e-12);
        assert_eq!(update.clip(2.0), 1.0);
        assert!((update.clip(0.25) - 0.5).abs() < 1e-12);
        assert!((0.5 * update.curvature - 0.25).abs() < 1e-12);
        assert!((update.report.scale - 0.5).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn ief_lowers_each_loss_by_s(rows in rows(5, 40), s in proptest::collection::vec(1e-3..2.0f64, 5)) {
            let update = ief(&gram(&rows), &s, &Damping::absolute(0.0), EXACT, None).unwrap();
            prop_assert!(distance(&update.decrease, &s) < 1e-9);
            // ΔᵀF̃Δ = Σ s_n at λ = 0.
            prop_assert!((update.curvature / s.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }

        #[test]
        fn ef_is_the_dense_solve(rows in rows(6, 4), lambda in 1e-2..1.0f64) {
            // (JᵀJ + λI)⁻¹ Jᵀ1 = Jᵀ (K + λI)⁻¹ 1.
            let update = ef(&gram(&rows), &Damping::absolute(lambda), EXACT, None).unwrap();
            let fisher = Symmetric::from_fn(4, |p, q| rows.iter().map(|r| r[p] * r[q]).sum());
            let g = apply(&rows, &[1.0; 6]);
            let (dense, _) = solve(&fisher, &g, lambda, 0.0).unwrap();
            prop_assert!(distance(&apply(&rows, &update.values), &dense) < 1e-9);
        }

        #[test]
        fn ief_on_the_fisher_is_the_dense_solve(
            rows in rows(6, 4),
            s in proptest::collection::vec(1e-2..2.0f64, 6),
            lambda in 1e-2..1.0f64,
        ) {
            // (Jᵀ diag(s)⁻¹ J + λI)⁻¹ g = Jᵀ (K + λ diag(s))⁻¹ s.
            let update = ief(&gram(&rows), &s, &Damping::absolute(lambda), EXACT, None).unwrap();
            let fisher = Symmetric::from_fn(4, |p, q| {
                rows.iter().zip(&s).map(|(r, s)| r[p] * r[q] / s).sum()
            });
            let g = apply(&rows, &[1.0; 6]);
            let (dense, _) = solve(&fisher, &g, lambda, 0.0).unwrap();
            prop_assert!(distance(&apply(&rows, &update.values), &dense) < 1e-8);
        }

        #[test]
        fn near_duplicates_are_continuous(
            rows in rows(4, 6),
            s in proptest::collection::vec(1e-2..2.0f64, 4),
            on_gram in any::<bool>(),
        ) {
            let on = if on_gram { On::Gram } else { On::Fisher };
            let damping = Damping::absolute(1e-2).on(on);
            let near = |gap: f64| {
                let (mut rows, mut s) = (rows.clone(), s.clone());
                let copy: Vec<f64> = rows[0].iter().map(|x| x + gap).collect();
                rows.push(copy);
                s.push(s[0] + gap);
                let update = ief(&gram(&rows), &s, &damping, EXACT, None).unwrap();
                apply(&rows, &update.values)
            };
            let limit = near(0.0);
            prop_assert!(limit.iter().all(|x| x.is_finite()));
            prop_assert!(distance(&near(1e-7), &limit) < 1e-3);
            prop_assert!(distance(&near(1e-10), &limit) < 1e-6);
        }

        #[test]
        fn the_fisher_damped_update_does_not_see_the_loss_scale(
            rows in rows(4, 6),
            s in proptest::collection::vec(1e-2..2.0f64, 4),
            alpha in 1e-3..1e3f64,
        ) {
            // Under J → αJ, s → α²s the update scales by α, at one and the same λ.
            let scaled: Vec<Vec<f64>> =
                rows.iter().map(|r| r.iter().map(|x| alpha * x).collect()).collect();
            let scaled_s: Vec<f64> = s.iter().map(|s| alpha * alpha * s).collect();
            let damping = Damping::absolute(1e-2);
            let a = ief(&gram(&rows), &s, &damping, EXACT, None).unwrap();
            let b = ief(&gram(&scaled), &scaled_s, &damping, EXACT, None).unwrap();
            let a: Vec<f64> = apply(&rows, &a.values).iter().map(|x| alpha * x).collect();
            prop_assert!(distance(&apply(&scaled, &b.values), &a) < 1e-8);
        }
    }
}
