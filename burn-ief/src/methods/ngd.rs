//! The exact natural gradient, for small models with few classes.

use burn::config::Config;

use super::config::MethodConfig;
use super::exact::Exact;
use super::options::{SolveOptions, StepOptions};
use super::recommended::Recommended;
use super::rule::{Solution, System, UpdateRule};
use super::sampled;
use crate::error::Error;
use crate::record::LabelDraw;

/// Exact natural gradient (NGD), `Δ = (F + λI)⁻¹ g`, for small models with few classes.
///
/// The batch runs `1 + classes` times through the model. The model marks its output and its loss,
/// see [`mark_output`](crate::mark_output) and [`mark_loss`](crate::mark_loss).
///
/// ```
/// use burn::config::Config;
/// use burn_ief::methods::{MethodConfig, NgdConfig};
///
/// assert!(NgdConfig::new().with_classes(10).validate().is_ok());
/// // The number of classes has no default.
/// assert!(NgdConfig::new().validate().is_err());
/// ```
#[derive(Config, Debug)]
#[non_exhaustive]
pub struct NgdConfig {
    /// Number of classes (or output dimensions of a Gaussian) of the marked output; has to be set.
    #[config(default = 0)]
    pub classes: usize,
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

impl MethodConfig for NgdConfig {
    type Method = Exact<Ngd>;

    fn try_build(&self) -> Result<Exact<Ngd>, Error> {
        if self.classes == 0 {
            return Err(Error::Config {
                field: "classes",
                value: "0".into(),
                expected: "the number of classes of the marked output, at least 1",
            });
        }
        Exact::new(
            Ngd::new(self.classes),
            &self.solve,
            &self.step,
            &recommended(),
        )
    }

    fn recommended(&self) -> Option<Recommended> {
        Some(recommended())
    }
}

/// The rule of the exact natural gradient, `Δ = (F + λI)⁻¹ g` with
/// `F = Σ_n Σ_c p_n(c) ∇log p_n(c) ∇log p_n(c)ᵀ`.
///
/// It solves the same system as [`Sf`](super::Sf), with a copy of the batch for each class, weighted
/// by √p.
///
/// ```
/// use burn_ief::methods::{Ngd, UpdateRule};
///
/// let labels = Ngd::new(3).labels(0).unwrap();
/// assert_eq!(labels.copies(), 3);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Ngd {
    /// Number of classes of the marked output.
    pub classes: usize,
}

impl Ngd {
    /// For an output with this many classes.
    pub fn new(classes: usize) -> Self {
        Self { classes }
    }
}

impl UpdateRule for Ngd {
    fn skips_fitted(&self) -> bool {
        true
    }

    fn labels(&self, _step: u64) -> Option<LabelDraw> {
        Some(LabelDraw::Enumerate {
            classes: self.classes,
        })
    }

    fn solve(&self, system: &System<'_>) -> Result<Solution, Error> {
        sampled::solve(system)
    }
}
