//! What the members of the family differ in.

use crate::names::named_variants;

/// Which errors the second factor is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FactorLabels {
    /// Labels drawn from the model: K-FAC, an estimate of the Fisher matrix.
    Sampled,
    /// True labels: eKFAC, an estimate of the empirical Fisher matrix.
    Empirical,
    /// True labels, errors of sample n times `s_n^{-1/2}`: ieKFAC (eq. 43), an estimate of the
    /// improved empirical Fisher matrix. Samples with s_n = 0 contribute nothing.
    Improved,
}

/// How a layer that is applied at T positions of a sample (or used several times) is approximated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WeightSharing {
    /// Every position counts as an example of its own, `A = mean over n, t of aᵀa` and
    /// `B = mean over n of Σ_t eᵀe`: the usual choice for sequences and convolutions. Padded
    /// positions count in A.
    #[default]
    Expand,
    /// The positions of a sample are put together first, a averaged and e summed:
    /// for layers whose output is averaged over the positions.
    Reduce,
}

/// What becomes of parameters without a Kronecker form: norms, embeddings, parameters that are
/// broadcast over the batch, layers wider than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FallbackCurvature {
    /// `Δ = g / (d + λ)` with d the diagonal of the same curvature matrix (mean squares of
    /// per-sample gradients; of per-position ones for look-ups and wide layers).
    #[default]
    Diagonal,
    /// The plain mean gradient.
    Gradient,
}

named_variants!(
    FactorLabels,
    "factor labels",
    Sampled = "sampled",
    Empirical = "empirical",
    Improved = "improved"
);
named_variants!(
    WeightSharing,
    "weight sharing",
    Expand = "expand",
    Reduce = "reduce"
);
named_variants!(
    FallbackCurvature,
    "fallback curvature",
    Diagonal = "diagonal",
    Gradient = "gradient"
);
