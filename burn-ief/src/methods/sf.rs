//! SF, the Fisher matrix from drawn labels.

use burn::config::Config;

use super::config::MethodConfig;
use super::exact::Exact;
use super::options::{SolveOptions, StepOptions};
use super::ranges::at_least_one;
use super::recommended::Recommended;
use super::rule::{Solution, System, UpdateRule};
use super::sampled;
use crate::error::Error;
use crate::record::LabelDraw;

/// Fisher matrix from drawn labels (SF), `Δ = (ĴᵀĴ + λI)⁻¹ g`.
///
/// The batch runs `1 + draws` times through the model, once with the true labels and `draws` times
/// with labels drawn from the model, in one forward and one backward pass. The model marks its
/// output and its loss, see [`mark_output`](crate::mark_output) and
/// [`mark_loss`](crate::mark_loss). As the paper does, updates are scaled to norm 1 unless
/// [`StepOptions::normalize`] says otherwise; use a step size that falls to zero.
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::{MethodConfig, SfConfig};
///
/// assert!(SfConfig::new().with_draws(2).with_seed(7).validate().is_ok());
/// assert!(SfConfig::new().with_draws(0).validate().is_err());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct SfConfig {
    /// Labels drawn per sample.
    #[config(default = 1)]
    pub draws: usize,
    /// Seed of the draws.
    #[config(default = 0)]
    pub seed: u64,
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

impl MethodConfig for SfConfig {
    type Method = Exact<Sf>;

    fn try_build(&self) -> Result<Exact<Sf>, Error> {
        at_least_one("draws", self.draws)?;
        let rule = Sf {
            draws: self.draws,
            seed: self.seed,
        };
        Exact::new(rule, &self.solve, &self.step, &recommended())
    }

    fn recommended(&self) -> Option<Recommended> {
        Some(recommended())
    }
}

/// The rule of SF, `Δ = (ĴᵀĴ + λI)⁻¹ Jᵀ1` (eqs. 47, 49), with Ĵ the rows of drawn labels.
///
/// ```
/// use burn_ief::methods::{Sf, System, UpdateRule};
/// use burn_ief::solve::{Damping, Symmetric};
///
/// // One sample whose drawn label is the true one: SF is EF.
/// let gram = Symmetric::from_fn(2, |_, _| 4.0);
/// let system = System::from_gram(gram, 1)
///     .with_label_matches(vec![true])
///     .with_damping(Damping::absolute(0.0));
/// let update = Sf::default().solve(&system)?.into_coefficients()?;
/// assert!((update.decrease[0] - 1.0).abs() < 1e-12);
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sf {
    /// Labels drawn per sample.
    pub draws: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Sf {
    fn default() -> Self {
        Self { draws: 1, seed: 0 }
    }
}

impl UpdateRule for Sf {
    fn skips_fitted(&self) -> bool {
        true
    }

    fn labels(&self, step: u64) -> Option<LabelDraw> {
        Some(LabelDraw::sample(self.draws, self.seed, step))
    }

    fn solve(&self, system: &System<'_>) -> Result<Solution, Error> {
        sampled::solve(system)
    }
}
