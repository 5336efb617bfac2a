//! iEF, the improved empirical Fisher method.

use burn::config::Config;

use super::config::MethodConfig;
use super::exact::Exact;
use super::metric::{RunningSquares, UpdateMetric};
use super::options::{SolveOptions, StepOptions};
use super::ranges::check_cosine_filter;
use super::recommended::Recommended;
use super::rule::{Solution, System, UpdateRule};
use crate::error::Error;
use crate::solve::{DampedMatrix, Damping, RowSelection, TrustRegion, solve_resolved};

/// Improved empirical Fisher (iEF), `Δ = Jᵀ (K + λ diag(s))⁻¹ s`.
///
/// The loss of sample n decreases by s_n = ‖∂l_n/∂z_n‖², so samples that are fitted already are
/// left alone. The model marks its output ([`mark_output`](crate::mark_output)).
///
/// The defaults are the recommended settings, which need no tuning: a separable metric of power 0.25, a trust region of
/// 0.015 per sample, momentum 0.9 in the solve, and a damping of 0.1 relative to the mean diagonal. Their step size is 1; a
/// fall to zero over the last 40 % of the steps lowers the final loss. [`SolveOptions::plain`] gives the paper's rule.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::{IefConfig, MethodConfig, SolveOptions};
/// use burn_ief::solve::{DampedMatrix, Damping};
///
/// let damping = Damping::absolute(4e-4).on(DampedMatrix::Gram);
/// let config = IefConfig::new().with_solve(SolveOptions::plain(damping));
/// assert!(config.validate().is_ok());
/// assert!(config.with_cosine_filter(Some(2.0)).validate().is_err());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct IefConfig {
    /// Leave out, of any two rows with |cos| above this, the shorter one (the original code: 0.99).
    pub cosine_filter: Option<f64>,
    /// How the system is solved.
    #[config(default = "SolveOptions::new()")]
    pub solve: SolveOptions,
    /// What happens to the update.
    #[config(default = "StepOptions::new()")]
    pub step: StepOptions,
}

/// The best setting of the benchmark of optimizers (`benches/results/tasks`, contender `ief-separable-late`).
fn recommended() -> Recommended {
    Recommended {
        damping: Damping::relative(0.1),
        trust_region: TrustRegion::per_sample(0.015),
        momentum: 0.9,
        metric: UpdateMetric::Separable(RunningSquares::default()),
        norm: None,
    }
}

impl MethodConfig for IefConfig {
    type Method = Exact<Ief>;

    fn try_build(&self) -> Result<Exact<Ief>, Error> {
        check_cosine_filter(self.cosine_filter)?;
        let rule = Ief {
            cosine_filter: self.cosine_filter,
        };
        Exact::new(rule, &self.solve, &self.step, &recommended())
    }

    fn recommended(&self) -> Option<Recommended> {
        Some(recommended())
    }
}

/// The rule of iEF.
///
/// With damping on the Fisher matrix (the default) `Δ = Jᵀ (K + λ diag(s))⁻¹ s`, with damping on
/// the Gram matrix `Δ = Jᵀ (K + λI)⁻¹ s` (eq. 8).
///
/// ```
/// use burn_ief::methods::{Ief, System, UpdateRule};
/// use burn_ief::solve::{Damping, Symmetric};
///
/// let gram = Symmetric::from_fn(2, |i, j| if i == j { 4.0 } else { 0.0 });
/// let system = System::from_gram(gram, 2)
///     .with_output_norms(vec![2.0, 0.0])
///     .with_damping(Damping::absolute(0.0));
/// let update = Ief::default().solve(&system)?.into_coefficients()?;
/// // Only the loss of the sample that is not fitted yet decreases.
/// assert!((update.decrease[0] - 2.0).abs() < 1e-12);
/// assert_eq!((update.values[1], update.decrease[1]), (0.0, 0.0));
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Ief {
    /// Leave out, of any two rows with |cos| above this, the shorter one.
    pub cosine_filter: Option<f64>,
}

impl UpdateRule for Ief {
    fn needs_output_norms(&self) -> bool {
        true
    }

    /// A sample with s_n = 0 has no equation.
    fn solve(&self, system: &System<'_>) -> Result<Solution, Error> {
        let damping = system.damping()?;
        let s = system.output_norms()?;
        let mut start = system.start()?;
        start.truncate(system.samples());
        let gram = &*system.sample_gram()?;
        let rows = RowSelection::new(gram, |n| s[n] > 0.0, self.cosine_filter);
        let s = rows.pick(s);
        let ahead = rows.pick(&start);
        let k = gram.principal(&rows.kept);
        let (c, report) = match damping.on {
            DampedMatrix::Gram => {
                let (lambda, floor) =
                    damping.resolve(k.mean_diagonal(), k.size(), system.epsilon());
                let target: Vec<f64> = s.iter().zip(&ahead).map(|(s, a)| s - a).collect();
                solve_resolved(&k, &target, lambda, floor, system.row_epsilon())?
            }
            DampedMatrix::Fisher => {
                // (K + λS²)⁻¹ r = S⁻¹ (S⁻¹KS⁻¹ + λI)⁻¹ S⁻¹ r with S = diag(√s).
                let inverse: Vec<f64> = s.iter().map(|s| 1.0 / s.sqrt()).collect();
                let scaled = k.scaled(&inverse);
                let (lambda, floor) =
                    damping.resolve(scaled.mean_diagonal(), s.len(), system.epsilon());
                let ahead = ahead.iter().zip(&inverse).map(|(a, i)| a * i);
                let target: Vec<f64> = s.iter().zip(ahead).map(|(s, a)| s.sqrt() - a).collect();
                let (c, report) =
                    solve_resolved(&scaled, &target, lambda, floor, system.row_epsilon())?;
                (c.iter().zip(&inverse).map(|(c, i)| c * i).collect(), report)
            }
        };
        let mut update = rows.coefficients(gram, &c, &start, report);
        let decrease = rows.kept.iter().map(|&n| update.decrease[n]);
        update.curvature = decrease.zip(&s).map(|(d, s)| d * d / s).sum();
        Ok(update.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{combine, distance, gram, rows};
    use super::*;
    use crate::linalg::Symmetric;
    use crate::solve::{Coefficients, Damping, solve_damped};
    use proptest::prelude::*;

    fn ief(rows: &[Vec<f64>], s: &[f64], damping: Damping) -> Coefficients {
        let system = System::from_gram(gram(rows), rows.len())
            .with_output_norms(s.to_vec())
            .with_damping(damping);
        let solution = Ief::default().solve(&system).unwrap();
        solution.into_coefficients().unwrap()
    }

    proptest! {
        #[test]
        fn ief_lowers_each_loss_by_s(rows in rows(5, 40), s in proptest::collection::vec(1e-3..2.0f64, 5)) {
            let update = ief(&rows, &s, Damping::absolute(0.0));
            prop_assert!(distance(&update.decrease, &s) < 1e-9);
            // ΔᵀF̃Δ = Σ s_n at λ = 0.
            prop_assert!((update.curvature / s.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }

        #[test]
        fn ief_on_the_fisher_is_the_dense_solve(
            rows in rows(6, 4),
            s in proptest::collection::vec(1e-2..2.0f64, 6),
            lambda in 1e-2..1.0f64,
        ) {
            // (Jᵀ diag(s)⁻¹ J + λI)⁻¹ g = Jᵀ (K + λ diag(s))⁻¹ s.
            let update = ief(&rows, &s, Damping::absolute(lambda));
            let fisher = Symmetric::from_fn(4, |p, q| {
                rows.iter().zip(&s).map(|(r, s)| r[p] * r[q] / s).sum()
            });
            let g = combine(&rows, &[1.0; 6]);
            let (dense, _) = solve_damped(&fisher, &g, lambda, 0.0).unwrap();
            prop_assert!(distance(&combine(&rows, &update.values), &dense) < 1e-8);
        }

        #[test]
        fn near_duplicates_are_continuous(
            rows in rows(4, 6),
            s in proptest::collection::vec(1e-2..2.0f64, 4),
            on_gram in any::<bool>(),
        ) {
            let on = if on_gram { DampedMatrix::Gram } else { DampedMatrix::Fisher };
            let damping = Damping::absolute(1e-2).on(on);
            let near = |gap: f64| {
                let (mut rows, mut s) = (rows.clone(), s.clone());
                let copy: Vec<f64> = rows[0].iter().map(|x| x + gap).collect();
                rows.push(copy);
                s.push(s[0] + gap);
                let update = ief(&rows, &s, damping);
                combine(&rows, &update.values)
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
            let a = ief(&rows, &s, damping);
            let b = ief(&scaled, &scaled_s, damping);
            let a: Vec<f64> = combine(&rows, &a.values).iter().map(|x| alpha * x).collect();
            prop_assert!(distance(&combine(&scaled, &b.values), &a) < 1e-8);
        }
    }
}
