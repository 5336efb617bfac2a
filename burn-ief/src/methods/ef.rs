//! EF, the empirical Fisher method.

use burn::config::Config;

use super::config::MethodConfig;
use super::exact::Exact;
use super::options::{SolveOptions, StepOptions};
use super::ranges::check_cosine_filter;
use super::recommended::Recommended;
use super::rule::{Solution, System, UpdateRule};
use crate::error::Error;
use crate::solve::{RowSelection, solve_resolved};

/// Empirical Fisher (EF), `Δ = Jᵀ (K + λI)⁻¹ 1`.
///
/// Every sample's loss decreases by the same amount, fitted or not (the inversely-scaled projection
/// issue, sec. 4 of the paper). The paper therefore runs it with updates of a fixed norm and a step
/// size that falls to zero; the norm is 1 unless [`StepOptions::normalize`] says otherwise.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::{EfConfig, MethodConfig, SolveOptions};
/// use burn_ief::solve::TrustRegion;
///
/// let solve = SolveOptions::new().with_trust_region(Some(TrustRegion::per_sample(0.015)));
/// let config = EfConfig::new().with_solve(solve);
/// assert!(config.validate().is_ok());
/// assert!(config.with_cosine_filter(Some(0.0)).validate().is_err());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct EfConfig {
    /// Leave out, of any two rows with |cos| above this, the shorter one.
    pub cosine_filter: Option<f64>,
    /// How the system is solved.
    #[config(default = "SolveOptions::new()")]
    pub solve: SolveOptions,
    /// What happens to the update.
    #[config(default = "StepOptions::new()")]
    pub step: StepOptions,
}

/// The recommended norm of an update.
const NORM: f64 = 1.0;

fn recommended() -> Recommended {
    Recommended {
        norm: Some(NORM),
        ..Recommended::default()
    }
}

impl MethodConfig for EfConfig {
    type Method = Exact<Ef>;

    fn try_build(&self) -> Result<Exact<Ef>, Error> {
        check_cosine_filter(self.cosine_filter)?;
        let rule = Ef {
            cosine_filter: self.cosine_filter,
        };
        Exact::new(rule, &self.solve, &self.step, &recommended())
    }

    fn recommended(&self) -> Option<Recommended> {
        Some(recommended())
    }
}

/// The rule of EF, `Δ = Jᵀ (K + λI)⁻¹ 1` (eq. 5).
///
/// ```
/// use burn_ief::methods::{Ef, System, UpdateRule};
/// use burn_ief::solve::{Damping, Symmetric};
///
/// let gram = Symmetric::from_fn(2, |i, j| if i == j { 4.0 } else { 0.0 });
/// let system = System::from_gram(gram, 2).with_damping(Damping::absolute(0.0));
/// let update = Ef::default().solve(&system)?.into_coefficients()?;
/// assert!(update.decrease.iter().all(|d| (d - 1.0).abs() < 1e-12));
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Ef {
    /// Leave out, of any two rows with |cos| above this, the shorter one.
    pub cosine_filter: Option<f64>,
}

impl UpdateRule for Ef {
    fn skips_fitted(&self) -> bool {
        true
    }

    fn solve(&self, system: &System<'_>) -> Result<Solution, Error> {
        let damping = system.damping()?;
        let mut start = system.start()?;
        start.truncate(system.samples());
        let gram = &*system.sample_gram()?;
        let contributes = system.contributes()?;
        let rows = RowSelection::new(gram, |n| contributes[n], self.cosine_filter);
        let k = gram.principal(&rows.kept);
        let (lambda, floor) = damping.resolve(k.mean_diagonal(), k.size(), system.epsilon());
        let target: Vec<f64> = rows.kept.iter().map(|&n| 1.0 - start[n]).collect();
        let (c, report) = solve_resolved(&k, &target, lambda, floor, system.row_epsilon())?;
        let mut update = rows.coefficients(gram, &c, &start, report);
        update.curvature = update.decrease.iter().map(|d| d * d).sum();
        Ok(update.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{combine, distance, gram, rows};
    use super::*;
    use crate::linalg::Symmetric;
    use crate::solve::{Coefficients, Damping, SolveRoute, solve_damped};
    use proptest::prelude::*;

    fn ef_filtered(rows: &[Vec<f64>], damping: Damping, filter: Option<f64>) -> Coefficients {
        let system = System::from_gram(gram(rows), rows.len()).with_damping(damping);
        let rule = Ef {
            cosine_filter: filter,
        };
        rule.solve(&system).unwrap().into_coefficients().unwrap()
    }

    fn ef(rows: &[Vec<f64>], damping: Damping) -> Coefficients {
        ef_filtered(rows, damping, None)
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
            let update = ef(&rows, damping);
            let expected = ef(&without, damping);
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
        let update = ef(&rows, Damping::absolute(0.0));
        assert_eq!(update.report.route, SolveRoute::Eigen);
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
        let update = ef_filtered(&rows, Damping::absolute(0.0), Some(0.99));
        assert_eq!(update.report.dropped, [0]);
        assert_eq!(update.values[0], 0.0);
    }

    #[test]
    fn clipping_scales_to_the_radius() {
        let rows = vec![vec![1.0, 2.0], vec![0.5, -1.0]];
        let mut update = ef(&rows, Damping::absolute(0.0));
        // JΔ = 1, so ΔᵀF̃Δ = 2 and ½ of it is 1.
        assert!((update.curvature - 2.0).abs() < 1e-12);
        assert_eq!(update.clip(2.0), 1.0);
        assert!((update.clip(0.25) - 0.5).abs() < 1e-12);
        assert!((0.5 * update.curvature - 0.25).abs() < 1e-12);
        assert!((update.report.scale - 0.5).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn ef_is_the_dense_solve(rows in rows(6, 4), lambda in 1e-2..1.0f64) {
            // (JᵀJ + λI)⁻¹ Jᵀ1 = Jᵀ (K + λI)⁻¹ 1.
            let update = ef(&rows, Damping::absolute(lambda));
            let fisher = Symmetric::from_fn(4, |p, q| rows.iter().map(|r| r[p] * r[q]).sum());
            let g = combine(&rows, &[1.0; 6]);
            let (dense, _) = solve_damped(&fisher, &g, lambda, 0.0).unwrap();
            prop_assert!(distance(&combine(&rows, &update.values), &dense) < 1e-9);
        }
    }
}
