//! GGT, the square root of the empirical Fisher matrix.

use burn::config::Config;

use super::config::MethodConfig;
use super::exact::Exact;
use super::options::{SolveOptions, StepOptions};
use super::recommended::Recommended;
use super::rule::{Solution, System, UpdateRule};
use crate::error::Error;
use crate::linalg::Eigen;
use crate::solve::{Coefficients, RowSelection, SolveReport, SolveRoute, rounding_level};

/// GGT on the rows of a batch, `Δ = ((JᵀJ)^{1/2} + εI)⁻¹ g = Jᵀ (K^{1/2} + εI)⁻¹ 1`.
///
/// Full-matrix adaptive regularisation: Agarwal, Bullins, Chen, Hazan, Singh, Zhang, Zhang,
/// "Efficient Full-Matrix Adaptive Regularization" (ICML 2019, arXiv 1806.02958). The paper takes
/// the gradients of the last steps as rows; here the rows are the per-sample gradients of the batch.
/// Like EF it uses the true labels alone, but divides by the square root of the curvature, as Adam
/// does entry by entry. ε is the damping, on the square root of K: relative to its mean diagonal, or
/// absolute. There is no measured recommendation for it.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::{GgtConfig, MethodConfig, SolveOptions};
/// use burn_ief::solve::Damping;
///
/// let solve = SolveOptions::new().with_damping(Some(Damping::relative(0.01)));
/// assert!(GgtConfig::new().with_solve(solve).validate().is_ok());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct GgtConfig {
    /// How the system is solved.
    #[config(default = "SolveOptions::new()")]
    pub solve: SolveOptions,
    /// What happens to the update.
    #[config(default = "StepOptions::new()")]
    pub step: StepOptions,
}

fn recommended() -> Recommended {
    Recommended::default()
}

impl MethodConfig for GgtConfig {
    type Method = Exact<Ggt>;

    fn try_build(&self) -> Result<Exact<Ggt>, Error> {
        Exact::new(Ggt, &self.solve, &self.step, &recommended())
    }

    fn recommended(&self) -> Option<Recommended> {
        Some(recommended())
    }
}

/// The rule of GGT, `Δ = Jᵀ (K^{1/2} + εI)⁻¹ 1`.
///
/// ```
/// use burn_ief::methods::{Ggt, System, UpdateRule};
/// use burn_ief::solve::{Damping, Symmetric};
///
/// let gram = Symmetric::from_fn(2, |i, j| if i == j { 4.0 } else { 0.0 });
/// let system = System::from_gram(gram, 2).with_damping(Damping::absolute(0.0));
/// let update = Ggt::default().solve(&system)?.into_coefficients()?;
/// // Orthogonal gradients of length 2 come out with length 1.
/// assert!((update.values[0] - 0.5).abs() < 1e-12);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Ggt;

impl UpdateRule for Ggt {
    fn skips_fitted(&self) -> bool {
        true
    }

    /// The paper defines no start for the square root.
    fn supports_start(&self) -> bool {
        false
    }

    fn solve(&self, system: &System<'_>) -> Result<Solution, Error> {
        let damping = system.damping()?;
        let gram = &*system.sample_gram()?;
        let contributes = system.contributes()?;
        let rows = RowSelection::new(gram, |n| contributes[n], None);
        let k = gram.principal(&rows.kept);
        let eigen = Eigen::new(&k)?;
        let trace = k.diagonal().iter().sum();
        let cut = rounding_level(&eigen, trace, system.row_epsilon());
        let roots = eigen.values().iter().map(|value| value.max(0.0).sqrt());
        let mean = roots.sum::<f64>() / k.size().max(1) as f64;
        let (epsilon, floor) = damping.resolve(mean, k.size(), system.epsilon());
        let root = |value: f64| value.max(0.0).sqrt() + epsilon;
        // Below the threshold an eigenvalue is rounding, and Jᵀ takes its direction to zero.
        let kept = |value: f64| value > cut;
        let ones = vec![1.0; k.size()];
        let c = eigen.apply(&ones, |v| if kept(v) { 1.0 / root(v) } else { 0.0 });
        let kept: Vec<f64> = eigen
            .values()
            .iter()
            .copied()
            .filter(|&v| kept(v))
            .collect();
        let condition = match (kept.first(), kept.last()) {
            (Some(&smallest), Some(&largest)) => root(largest) / root(smallest),
            _ => 1.0,
        };
        let route = SolveRoute::Eigen;
        let report = SolveReport::new(epsilon, floor, route, condition, kept.len(), 0.0);
        let start = vec![0.0; system.samples()];
        let mut update: Coefficients = rows.coefficients(gram, &c, &start, report);
        update.curvature = update.decrease.iter().map(|d| d * d).sum();
        Ok(update.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{combine, distance, gram, rows};
    use super::*;
    use crate::linalg::Symmetric;
    use crate::solve::Damping;
    use proptest::prelude::*;

    /// `((JᵀJ)^{1/2} + εI)⁻¹ g` by the eigenpairs of the P x P matrix.
    fn dense(rows: &[Vec<f64>], epsilon: f64) -> Vec<f64> {
        let width = rows[0].len();
        let fisher = Symmetric::from_fn(width, |p, q| rows.iter().map(|r| r[p] * r[q]).sum());
        let gradient = combine(rows, &vec![1.0; rows.len()]);
        let eigen = Eigen::new(&fisher).unwrap();
        eigen.apply(&gradient, |value| 1.0 / (value.max(0.0).sqrt() + epsilon))
    }

    proptest! {
        #[test]
        fn it_is_the_dense_square_root(rows in rows(4, 7), epsilon in 1e-2..1.0f64) {
            let system = System::from_gram(gram(&rows), 4).with_damping(Damping::absolute(epsilon));
            let update = Ggt.solve(&system).unwrap().into_coefficients().unwrap();
            prop_assert!(distance(&combine(&rows, &update.values), &dense(&rows, epsilon)) < 1e-9);
        }

        #[test]
        fn it_holds_with_more_samples_than_parameters(
            rows in rows(9, 3),
            epsilon in 1e-2..1.0f64,
        ) {
            let system = System::from_gram(gram(&rows), 9).with_damping(Damping::absolute(epsilon));
            let update = Ggt.solve(&system).unwrap().into_coefficients().unwrap();
            prop_assert!(distance(&combine(&rows, &update.values), &dense(&rows, epsilon)) < 1e-7);
            prop_assert!(update.report.rank <= 3);
        }
    }
}
