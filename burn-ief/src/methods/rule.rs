//! The trait of an update rule, and what a rule returns.

use std::fmt::Debug;

use super::system::System;
use crate::error::Error;
use crate::record::LabelDraw;
use crate::solve::{Coefficients, SolveReport};

/// An update rule: from the Gram matrix of a batch to the update.
///
/// EF, iEF, SF and the exact natural gradient are rules, and you can write your own.
/// [`Exact`](super::Exact) makes a training method of a rule: it records, stacks shards, keeps the
/// momentum in the solve and forms the update.
///
/// The units are those of the summed loss: row n of J is the gradient of the loss of sample n, not
/// divided by anything, and the update Δ is the *positive* preconditioned gradient (a step is
/// `θ ← θ − η Δ`).
///
/// ```
/// use burn_ief::Error;
/// use burn_ief::methods::{Solution, System, UpdateRule};
/// use burn_ief::solve::{Coefficients, SolveReport, SolveRoute, Symmetric};
///
/// /// The gradient of each sample, scaled to length 1: `Δ = Σ_n J_n / ‖J_n‖`.
/// #[derive(Debug, Clone)]
/// struct UnitGradients;
///
/// impl UpdateRule for UnitGradients {
///     fn solve(&self, system: &System<'_>) -> Result<Solution, Error> {
///         let gram = system.gram()?;
///         let lengths = gram.diagonal().into_iter().map(f64::sqrt);
///         let c: Vec<f64> = lengths.map(|l| if l > 0.0 { 1.0 / l } else { 0.0 }).collect();
///         let decrease = gram.mul(&c);
///         let curvature = decrease.iter().map(|d| d * d).sum();
///         let report = SolveReport::new(0.0, 0.0, SolveRoute::Cholesky, 1.0, c.len(), 0.0);
///         Ok(Coefficients::new(c, decrease, curvature, report).into())
///     }
/// }
///
/// let gram = Symmetric::from_fn(2, |i, j| if i == j { 4.0 } else { 0.0 });
/// let update = UnitGradients.solve(&System::from_gram(gram, 2))?.into_coefficients()?;
/// assert_eq!(update.values, [0.5, 0.5]);
/// # Ok::<(), burn_ief::Error>(())
/// ```
pub trait UpdateRule: Debug + Send + Sync + 'static {
    /// The labels that copies of the batch carry in this step; `None` for rules that use the true
    /// labels alone.
    fn labels(&self, _step: u64) -> Option<LabelDraw> {
        None
    }

    /// Whether the rule uses [`System::output_norms`]; the model then has to mark its output.
    fn needs_output_norms(&self) -> bool {
        false
    }

    /// Solve the system of a batch.
    ///
    /// # Errors
    ///
    /// Whatever the rule cannot solve, and the errors of the system's accessors.
    fn solve(&self, system: &System<'_>) -> Result<Solution, Error>;
}

/// What a rule returns.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Solution {
    /// A combination of the rows of the system.
    Rows(Coefficients),
    /// The update itself, one entry per parameter entry, where there are fewer of those than rows.
    Parameters {
        /// Δ (with a start, Δ − Δ₀), flattened in the order of the Jacobian's columns.
        update: Vec<f64>,
        /// How the system was solved.
        report: SolveReport,
    },
}

impl Solution {
    /// The combination of the rows.
    ///
    /// # Errors
    ///
    /// [`Error::NoCoefficients`] if the rule solved for the parameters instead.
    pub fn into_coefficients(self) -> Result<Coefficients, Error> {
        match self {
            Self::Rows(coefficients) => Ok(coefficients),
            Self::Parameters { .. } => Err(Error::NoCoefficients),
        }
    }
}

impl From<Coefficients> for Solution {
    fn from(coefficients: Coefficients) -> Self {
        Self::Rows(coefficients)
    }
}
