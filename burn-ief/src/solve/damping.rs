//! How much damping, and on what.

use crate::error::Error;
use crate::names::named_variants;

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DampingAmount {
    /// λ itself, in sum form.
    Absolute(f64),
    /// This times the mean diagonal of the matrix that is damped: carries over between models,
    /// tasks and batch sizes.
    Relative(f64),
}

impl DampingAmount {
    /// Check the number.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is negative, NaN or infinite.
    pub fn validate(self) -> Result<(), Error> {
        let (Self::Absolute(value) | Self::Relative(value)) = self;
        if value.is_finite() && value >= 0.0 {
            Ok(())
        } else {
            Err(Error::config(
                "damping",
                value,
                "a finite number of at least 0",
            ))
        }
    }
}

/// Which matrix λ is added to, for iEF. The two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DampedMatrix {
    /// The improved empirical Fisher matrix `F̃ = Jᵀ diag(s)⁻¹ J`:
    /// `Δ = (F̃ + λI)⁻¹ g = Jᵀ (K + λ diag(s))⁻¹ s` (eqs. 14, 21).
    ///
    /// The rows `J_n/√s_n` do not change with the scale of the loss, nor as a sample gets fitted,
    /// so one λ holds for every reduction and through training, and the system is far better
    /// conditioned.
    #[default]
    Fisher,
    /// The Gram matrix of per-sample gradients: `Δ = Jᵀ (K + λI)⁻¹ s` (eq. 8), as in the paper's
    /// sweeps over λ.
    Gram,
}

/// Damping of an update.
///
/// The default is relative, 1e-3, on the Fisher matrix: on MiniLM + LoRA, TREC-6, the training loss
/// is flat from 1e-6 to 1e-3 (0.204) and slightly higher at 1e-1 (0.218); 1e-3 is the largest
/// of these without a cost.
///
/// ```
/// use burn_ief::solve::{DampedMatrix, Damping};
///
/// let paper = Damping::absolute(1e-12).on(DampedMatrix::Gram);
/// assert_eq!(paper.on, DampedMatrix::Gram);
/// assert!(Damping::relative(-1.0).validate().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Damping {
    /// How much.
    pub amount: DampingAmount,
    /// On what; EF, SF and the exact natural gradient have only one choice and ignore this.
    pub on: DampedMatrix,
    /// Whether the precision of an f32 Gram matrix bounds λ from below, by M ε₃₂ times the mean
    /// diagonal. Matrices accumulated in f64 have no floor.
    pub floor: bool,
}

impl From<DampingAmount> for Damping {
    fn from(amount: DampingAmount) -> Self {
        Self::new(amount)
    }
}

impl Default for Damping {
    fn default() -> Self {
        Self::relative(1e-3)
    }
}

impl Damping {
    /// λ itself, on the Fisher matrix.
    pub fn absolute(lambda: f64) -> Self {
        Self::new(DampingAmount::Absolute(lambda))
    }

    /// A fraction of the mean diagonal of the damped matrix, on the Fisher matrix.
    pub fn relative(fraction: f64) -> Self {
        Self::new(DampingAmount::Relative(fraction))
    }

    fn new(amount: DampingAmount) -> Self {
        Self {
            amount,
            on: DampedMatrix::default(),
            floor: true,
        }
    }

    /// Damp this matrix.
    pub fn on(self, on: DampedMatrix) -> Self {
        Self { on, ..self }
    }

    /// Take λ as it is, below the precision of the Gram matrix too.
    pub fn without_floor(self) -> Self {
        Self {
            floor: false,
            ..self
        }
    }

    /// Check the amount.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it is negative, NaN or infinite.
    pub fn validate(&self) -> Result<(), Error> {
        self.amount.validate()
    }

    /// λ and the floor under it, for a matrix with this mean diagonal.
    ///
    /// `epsilon` is the machine epsilon of the precision in which the matrix was accumulated.
    pub fn resolve(&self, mean_diagonal: f64, size: usize, epsilon: f64) -> (f64, f64) {
        let asked = match self.amount {
            DampingAmount::Absolute(lambda) => lambda,
            DampingAmount::Relative(fraction) => fraction * mean_diagonal,
        };
        let floor = if self.floor && epsilon > f64::EPSILON {
            size as f64 * epsilon * mean_diagonal
        } else {
            0.0
        };
        (asked.max(floor), floor)
    }
}

named_variants!(
    DampedMatrix,
    "damped matrix",
    Fisher = "fisher",
    Gram = "gram"
);
