//! The systems of SF and of the exact natural gradient, whose Fisher matrix comes from copies of the
//! batch with other labels.

mod parameters;
mod precision;

use self::parameters::solve_parameters;
use self::precision::{Lambda, Precision, mean_square};
use super::rule::{Solution, System};
use crate::error::Error;
use crate::linalg::{Symmetric, dot};
use crate::solve::{Coefficients, Range, solve_resolved};

/// `Δ = (ĴᵀĴ + λI)⁻¹ Jᵀ1` (eqs. 47, 49).
///
/// The rows are the M of J, then the K·M of Ĵ, scaled so that ĴᵀĴ is the Fisher estimate (1/√K for K
/// draws). `System::label_matches` says for every row of Ĵ whether its label is the true one; then
/// that row is `J_n/√K`, and the part of the gradient that such rows carry is solved without
/// cancellation. With a row per class, weighted by √p, this is the exact natural gradient.
///
/// If there are no more parameters than drawn rows, the P x P system is solved instead.
pub(super) fn solve(system: &System<'_>) -> Result<Solution, Error> {
    let copies = system.copies()?;
    let start = system.start()?;
    let samples = system.samples();
    let drawn = system.size() - samples;
    let contributes = system.contributes()?;
    let precision = Precision {
        damping: *system.damping()?,
        gram: system.epsilon(),
        rows: system.row_epsilon(),
    };
    if system.columns().is_some_and(|columns| columns <= drawn)
        && let Some(rows) = system.dense_rows()?
    {
        let (update, report) = solve_parameters(rows, &contributes, &start, &precision)?;
        return Ok(Solution::Parameters { update, report });
    }
    let matches = system.label_matches()?;
    let gram = system.gram()?;
    let batch = Batch {
        samples,
        copies,
        matches,
        contributes: &contributes,
    };
    solve_rows(gram, &batch, &start, &precision).map(Solution::from)
}

/// What belongs to the rows.
struct Batch<'a> {
    samples: usize,
    copies: usize,
    matches: &'a [bool],
    /// Whether each sample is not fitted yet.
    contributes: &'a [bool],
}

/// The system of the rows.
///
/// Woodbury's form, `(1/λ)[g − Ĵᵀ(ĴĴᵀ + λI)⁻¹Ĵg]`, subtracts two nearly equal vectors. Here the
/// gradient is split into what matching rows carry, what else is in the range of Ĵᵀ, and what is
/// orthogonal to it. With a start, `Δ = Δ₀ + (ĴᵀĴ + λI)⁻¹ (g − ĴᵀĴΔ₀)`.
fn solve_rows(
    gram: &Symmetric,
    batch: &Batch<'_>,
    start: &[f64],
    precision: &Precision,
) -> Result<Coefficients, Error> {
    let Batch {
        samples,
        copies,
        matches,
        contributes,
    } = *batch;
    let drawn = samples * copies;
    let hat: Vec<usize> = (samples..samples + drawn).collect();
    let k_hat = gram.principal(&hat);
    let truth = mean_square((0..samples).map(|n| gram.get(n, n)), contributes);
    let Lambda {
        value: lambda,
        floor,
        no_curvature,
    } = precision.lambda(k_hat.mean_diagonal(), truth, drawn);

    // What matching rows carry: J_n = √K Ĵ_nk, averaged over the matching copies k.
    let mut carried = vec![0.0; drawn];
    let mut rest = vec![1.0; samples];
    for (n, rest) in rest.iter_mut().enumerate() {
        if !contributes[n] {
            *rest = 0.0;
            continue;
        }
        let matching: Vec<usize> = (0..copies)
            .map(|k| k * samples + n)
            .filter(|&r| matches[r])
            .collect();
        if !matching.is_empty() {
            *rest = 0.0;
            for &row in &matching {
                carried[row] = (copies as f64).sqrt() / matching.len() as f64;
            }
        }
    }

    // What else lies in the range of Ĵᵀ is Ĵᵀa: the damped solve of it is that of a.
    let mut outside = vec![0.0; samples];
    let mut projected = Vec::new();
    if rest.iter().any(|&r| r > 0.0) {
        // b = Ĵh for the remaining gradient h = Jᵀ rest.
        let b: Vec<f64> = hat
            .iter()
            .map(|&row| (0..samples).map(|n| gram.get(row, n) * rest[n]).sum())
            .collect();
        let a = Range::new(&k_hat)?.coefficients(&b);
        carried.iter_mut().zip(&a).for_each(|(x, a)| *x += a);

        let true_rows: Vec<usize> = (0..samples).collect();
        let h_squared = dot(&rest, &gram.principal(&true_rows).mul(&rest));
        let outside_squared = h_squared - dot(&b, &a);
        // Below this the difference is rounding (with two classes, always: both labels of a
        // sample have parallel gradients) and 1/λ would blow it up.
        let of_gram = 10.0 * gram.size() as f64 * precision.gram * h_squared;
        let squares = rest.iter().enumerate().map(|(n, r)| r * gram.get(n, n));
        let of_rows = 16.0 * precision.rows * precision.rows * squares.sum::<f64>();
        if outside_squared > of_gram.max(of_rows) {
            if lambda == 0.0 {
                return Err(Precision::undamped());
            }
            outside
                .iter_mut()
                .zip(&rest)
                .for_each(|(x, r)| *x = r / lambda);
            projected = a;
        }
    }
    // (ĴᵀĴ + λI)⁻¹ ĴᵀĴΔ₀ = Ĵᵀ (ĴĴᵀ + λI)⁻¹ ĴΔ₀, without cancellation.
    let ahead = &start[samples..];
    carried.iter_mut().zip(ahead).for_each(|(x, a)| *x -= a);
    let (mut in_range, mut report) =
        solve_resolved(&k_hat, &carried, lambda, floor, precision.rows)?;
    in_range
        .iter_mut()
        .zip(&projected)
        .for_each(|(x, a)| *x -= a / lambda);
    report.no_curvature = no_curvature;

    let values: Vec<f64> = outside.into_iter().chain(in_range).collect();
    let mut image = gram.mul(&values);
    image.iter_mut().zip(start).for_each(|(x, s)| *x += s);
    report.zero_rows = (0..samples).filter(|&n| !contributes[n]).collect();
    let curvature = image[samples..].iter().map(|x| x * x).sum();
    image.truncate(samples);
    Ok(Coefficients::new(values, image, curvature, report))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{combine, distance, gram, rows};
    use super::super::{Ef, UpdateRule};
    use super::*;
    use crate::solve::Damping;
    use proptest::prelude::*;

    const EXACT: f64 = f64::EPSILON;

    fn sf(rows: &[Vec<f64>], samples: usize, matches: &[bool], damping: Damping) -> Coefficients {
        let system = System::from_gram(gram(rows), samples)
            .with_label_matches(matches.to_vec())
            .with_damping(damping);
        solve(&system).unwrap().into_coefficients().unwrap()
    }

    fn dense(rows: &[Vec<f64>], samples: usize, damping: Damping) -> Vec<f64> {
        let start = vec![0.0; rows.len()];
        let precision = Precision {
            damping,
            gram: EXACT,
            rows: EXACT,
        };
        let solved = solve_parameters(rows, &vec![true; samples], &start, &precision);
        solved.unwrap().0
    }

    #[test]
    fn certain_labels_and_one_that_disagrees_give_a_bounded_update() {
        // Nine parameters; the drawn rows of three certain samples have length 1e-20.
        let axis = |p: usize, size: f64| {
            let mut row = vec![0.0; 9];
            row[p] = size;
            row
        };
        let truth = [axis(0, 2.0), axis(1, 1e-20), axis(2, 1e-20)];
        let drawn = [axis(3, 1e-20), axis(1, 1e-20), axis(2, 1e-20)];
        let all: Vec<Vec<f64>> = truth.iter().chain(&drawn).cloned().collect();
        let system = System::from_gram(gram(&all), 3)
            .with_label_matches(vec![false, true, true])
            .with_fitted(vec![false, true, true])
            .with_row_epsilon(f64::from(f32::EPSILON));
        let update = solve(&system).unwrap().into_coefficients().unwrap();
        assert!(update.report.no_curvature);
        let delta = combine(&all, &update.values);
        // Damped by the squared length 4 of the true row.
        assert!((delta[0] - 0.5).abs() < 1e-6, "{delta:?}");
        assert!(delta[1..].iter().all(|x| x.abs() < 1e-6), "{delta:?}");
    }

    #[test]
    fn a_fitted_batch_gives_a_zero_update() {
        let rows: Vec<Vec<f64>> = (0..4).map(|n| vec![1e-22 * (n + 1) as f64, 0.0]).collect();
        for rows in [rows.clone(), vec![vec![0.0; 2]; 4]] {
            let system = System::from_gram(gram(&rows), 2)
                .with_label_matches(vec![true; 2])
                .with_fitted(vec![true; 2])
                .with_row_epsilon(f64::from(f32::EPSILON));
            let update = solve(&system).unwrap().into_coefficients().unwrap();
            assert_eq!(update.values, [0.0; 4]);
            assert!(update.report.zero_rows == [0, 1]);
        }
    }

    #[test]
    fn sizes_are_checked() {
        let k = Symmetric::from_fn(5, |i, j| f64::from(u8::from(i == j)));
        let system = System::from_gram(k.clone(), 2).with_label_matches(vec![false; 3]);
        assert!(matches!(solve(&system), Err(Error::Size { .. })));
        let system = System::from_gram(k, 5);
        assert!(matches!(solve(&system), Err(Error::NoSampledLabels)));
    }

    #[test]
    fn parallel_gradients_of_two_classes_do_not_cancel() {
        // Two classes: the gradients of both labels of a sample are parallel, so the gradient lies
        // in the range of Ĵ. λ is 1e-13 of the scale; Woodbury's form has no digit left there.
        let directions = [vec![3.0, 1.0, 0.5], vec![-1.0, 2.0, 0.25]];
        let scale = |v: &Vec<f64>, a: f64| v.iter().map(|x| a * x).collect::<Vec<f64>>();
        let all = vec![
            scale(&directions[0], 0.3),
            scale(&directions[1], 0.6),
            scale(&directions[0], -0.7),
            scale(&directions[1], -0.4),
        ];
        let damping = Damping::absolute(1e-13);
        let update = sf(&all, 2, &[false; 2], damping);
        // In the span of two independent rows the undamped solution has ĴΔ = -(3/7, 3/2).
        let delta = combine(&all, &update.values);
        let image: Vec<f64> = all[2..].iter().map(|row| dot(row, &delta)).collect();
        assert!(distance(&image, &[-3.0 / 7.0, -1.5]) < 1e-9, "{image:?}");
    }

    #[test]
    fn rows_of_fitted_samples_keep_their_digits() {
        // Lengths of rows differ by 1e5 and every other label is the true one.
        let entry = |n: usize, p: usize| ((n * n + 5) as f64 * (p as f64 + 1.3)).sin();
        let rows = |from: usize, short: f64| -> Vec<Vec<f64>> {
            let size = |n: usize| if n < 2 { short } else { 1.0 };
            (0..4)
                .map(|n| (0..9).map(|p| size(n) * entry(n + from, p)).collect())
                .collect()
        };
        let truth = rows(0, 1e-5);
        let mut drawn = rows(11, 1e-5);
        drawn[0] = truth[0].clone();
        drawn[2] = truth[2].clone();
        let all: Vec<Vec<f64>> = truth.iter().chain(&drawn).cloned().collect();
        for lambda in [1e-12, 1e-9, 1e-7, 1e-3, 1.0] {
            let damping = Damping::absolute(lambda);
            let matches = [true, false, true, false];
            let update = sf(&all, 4, &matches, damping);
            let dense = dense(&all, 4, damping);
            let error = distance(&combine(&all, &update.values), &dense);
            assert!(error < 1e-11, "lambda {lambda}: {error}");
        }
    }

    proptest! {
        #[test]
        fn true_labels_make_sf_ef(rows in rows(4, 9), lambda in 1e-9..1e-1f64) {
            let all: Vec<Vec<f64>> = rows.iter().chain(&rows).cloned().collect();
            let damping = Damping::absolute(lambda);
            let a = sf(&all, 4, &[true; 4], damping);
            let system = System::from_gram(gram(&rows), 4).with_damping(damping);
            let b = Ef::default().solve(&system).unwrap().into_coefficients().unwrap();
            prop_assert!(distance(&combine(&all, &a.values), &combine(&rows, &b.values)) < 1e-10);
        }

        #[test]
        fn sf_is_the_dense_solve(
            truth in rows(3, 11),
            drawn in rows(6, 11),
            matching in proptest::collection::vec(any::<bool>(), 3),
            lambda in 1e-3..1.0f64,
        ) {
            // Two draws; in the first copy some rows have the true label.
            let mut drawn = drawn;
            for n in 0..3 {
                if matching[n] {
                    drawn[n] = truth[n].iter().map(|x| x / 2f64.sqrt()).collect();
                }
            }
            let matches: Vec<bool> = matching.iter().copied().chain([false; 3]).collect();
            let all: Vec<Vec<f64>> = truth.iter().chain(&drawn).cloned().collect();
            let damping = Damping::absolute(lambda);
            let update = sf(&all, 3, &matches, damping);
            let dense = dense(&all, 3, damping);
            let delta = combine(&all, &update.values);
            prop_assert!(distance(&delta, &dense) < 1e-9);
            let decrease: Vec<f64> = truth.iter().map(|row| dot(row, &dense)).collect();
            prop_assert!(distance(&update.decrease, &decrease) < 1e-9);
        }
    }
}
