//! What the K-FAC family does with its Kronecker factors.

use burn_ief::kfac::{Others, Sharing, Split};
use serde::{Deserialize, Serialize};

/// How the damping is shared between the two factors of a layer.
///
/// ```
/// use burn_ief::kfac::Split;
/// use finetune::method::DampingSplit;
///
/// assert_eq!(Split::from(DampingSplit::Pi), Split::Pi);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DampingSplit {
    /// By their mean diagonals.
    Pi,
    /// √λ on both.
    Even,
}

impl From<DampingSplit> for Split {
    fn from(split: DampingSplit) -> Self {
        match split {
            DampingSplit::Pi => Self::Pi,
            DampingSplit::Even => Self::Even,
        }
    }
}

/// How layers that are applied at several positions are approximated.
///
/// ```
/// use burn_ief::kfac::Sharing;
/// use finetune::method::FactorSharing;
///
/// assert_eq!(Sharing::from(FactorSharing::Expand), Sharing::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FactorSharing {
    /// Each position is an example of its own.
    Expand,
    /// The positions of a sample are put together first.
    Reduce,
}

impl From<FactorSharing> for Sharing {
    fn from(sharing: FactorSharing) -> Self {
        match sharing {
            FactorSharing::Expand => Self::Expand,
            FactorSharing::Reduce => Self::Reduce,
        }
    }
}

/// What parameters without Kronecker factors take: norms, embeddings, prompts, wide layers.
///
/// ```
/// use burn_ief::kfac::Others;
/// use finetune::method::OtherParameters;
///
/// assert_eq!(Others::from(OtherParameters::Diagonal), Others::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OtherParameters {
    /// The diagonal of the same matrix.
    Diagonal,
    /// Their mean gradient.
    Gradient,
}

impl From<OtherParameters> for Others {
    fn from(others: OtherParameters) -> Self {
        match others {
            OtherParameters::Diagonal => Self::Diagonal,
            OtherParameters::Gradient => Self::Gradient,
        }
    }
}

/// Options of the K-FAC family, in addition to those of all methods.
///
/// ```
/// use finetune::method::{MethodOptions, build};
/// use programs::optimizer::{OptimizerName, optimizer};
///
/// let mut options = MethodOptions::of(optimizer("iekfac"));
/// options.factors.get_or_insert_default().factor_interval = 10;
/// let (_, natural) = build(optimizer("iekfac"), &options, 1)?;
/// assert!(natural.is_some());
/// # Ok::<(), finetune::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FactorOptions {
    /// Decay of the averages of the factors, 0 for those of the batch alone.
    pub decay: f64,
    /// Steps from one measurement of the factors to the next.
    pub factor_interval: usize,
    /// Steps from one inversion of the factors to the next.
    pub inverse_interval: usize,
    /// Steps at the start that measure and invert every time.
    pub warm_up: usize,
    /// Bound on ½ Δᵀg with the mean gradient g, 0 for none.
    pub kl_clip: f64,
    /// How the damping is shared between the factors.
    pub damping_split: DampingSplit,
    /// Layers at several positions.
    pub sharing: FactorSharing,
    /// Parameters without Kronecker factors.
    pub others: OtherParameters,
    /// Widest factor; wider layers are treated as `others`.
    pub max_dimension: usize,
    /// Labels drawn per sample; K-FAC, the other two draw none.
    pub draws: usize,
}

impl Default for FactorOptions {
    fn default() -> Self {
        Self {
            decay: 0.95,
            factor_interval: 10,
            inverse_interval: 10,
            warm_up: 10,
            kl_clip: 0.01,
            damping_split: DampingSplit::Pi,
            sharing: FactorSharing::Expand,
            others: OtherParameters::Diagonal,
            max_dimension: 4096,
            draws: 1,
        }
    }
}

impl FactorOptions {
    /// The bound of the KL clip, if there is one.
    pub(super) fn clip(&self) -> Option<f64> {
        (self.kl_clip != 0.0).then_some(self.kl_clip)
    }
}
