//! Configuration of WoodFisher.

use burn::config::Config;

use super::{Order, Scope};
use crate::error::Error;
use crate::solve::DampingAmount as Amount;

/// Which Fisher matrix.
///
/// ```
/// use burn_ief::woodfisher::{Curvature, WoodFisherConfig};
///
/// assert_eq!(WoodFisherConfig::new(400).curvature, Curvature::Improved);
/// let published = WoodFisherConfig::new(400).with_curvature(Curvature::Empirical);
/// # let _ = published;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Curvature {
    /// Empirical (EF): `(1/N) Σ_n ∇l_n ∇l_nᵀ`, as in the WoodFisher paper.
    Empirical,
    /// Improved empirical (iEF): `(1/N) Σ_n ∇l_n ∇l_nᵀ / s_n`; the model marks its outputs.
    #[default]
    Improved,
}

/// How the saliencies of the weights of a block hang together.
///
/// ```
/// use burn_ief::woodfisher::{Selection, WoodFisherConfig};
///
/// let published = WoodFisherConfig::new(400).with_selection(Selection::Independent);
/// # let _ = published;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Selection {
    /// They do not: each is that of removing one weight alone, as in the WoodFisher paper. Weights
    /// that stand in for one another are all cheap, and all go.
    Independent,
    /// One after another, as by the optimal brain surgeon: the weights of a block are removed
    /// cheapest first, and the saliencies of those that are left are those after that. B²/3
    /// multiplications for each weight more.
    #[default]
    Sequential,
}

/// What becomes of the weights that stay.
///
/// ```
/// use burn_ief::woodfisher::{Compensation, WoodFisherConfig};
///
/// let mask_alone = WoodFisherConfig::new(400).with_compensation(Compensation::None);
/// # let _ = mask_alone;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Compensation {
    /// They keep their values.
    None,
    /// The best changes for each removed weight by itself, added up, as in the WoodFisher paper:
    /// `δw = −Σ_q w_q F⁻¹e_q / [F⁻¹]_qq`. Where many weights of a block go it takes the same
    /// correction several times.
    Summed,
    /// The best change for all removed weights Q of a block together:
    /// `δw = −[F⁻¹]_:Q ([F⁻¹]_QQ)⁻¹ w_Q`. For one weight it is the same.
    #[default]
    Joint,
}

/// Configuration of [`WoodFisher`](super::WoodFisher).
///
/// ```
/// use burn_ief::update::Amount;
/// use burn_ief::woodfisher::{Compensation, Curvature, Selection, WoodFisherConfig};
///
/// // As published, from 400 gradients.
/// let config = WoodFisherConfig::new(400)
///     .with_curvature(Curvature::Empirical)
///     .with_selection(Selection::Independent)
///     .with_compensation(Compensation::Summed)
///     .with_damping(Amount::Absolute(1e-5));
/// config.validate()?;
/// # Ok::<(), burn_ief::Error>(())
/// ```
#[derive(Config, Debug)]
pub struct WoodFisherConfig {
    /// Per-sample gradients in the matrix, N.
    pub gradients: usize,
    /// Which Fisher matrix.
    #[config(default = "Curvature::Improved")]
    pub curvature: Curvature,
    /// Weights in a block, B; `usize::MAX` for one block for each parameter.
    #[config(default = 64)]
    pub block_size: usize,
    /// Which weights of a matrix are neighbours.
    #[config(default = "Order::ColumnMajor")]
    pub order: Order,
    /// λ, above 0: in mean form (beside `(1/N) Σ_n`), or relative to the mean diagonal of the first
    /// batch's matrix.
    #[config(default = "Amount::Relative(1e-2)")]
    pub damping: Amount,
    /// How the saliencies of the weights of a block hang together.
    #[config(default = "Selection::Sequential")]
    pub selection: Selection,
    /// What becomes of the weights that stay.
    #[config(default = "Compensation::Joint")]
    pub compensation: Compensation,
    /// Among which weights the least salient are looked for.
    #[config(default = "Scope::Global")]
    pub scope: Scope,
}

impl WoodFisherConfig {
    /// Check every field.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |field, value: String, expected| {
            Err(Error::Config {
                field,
                value,
                expected,
            })
        };
        let counts = [
            ("gradients", self.gradients),
            ("block_size", self.block_size),
        ];
        for (field, value) in counts {
            if value == 0 {
                return refuse(field, value.to_string(), "at least 1");
            }
        }
        let (Amount::Absolute(damping) | Amount::Relative(damping)) = self.damping;
        match damping.is_finite() && damping > 0.0 {
            true => Ok(()),
            false => refuse("damping", damping.to_string(), "a finite number above 0"),
        }
    }
}
