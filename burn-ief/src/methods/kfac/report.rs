//! What a step of the K-FAC family did.

/// What a step of the K-FAC family did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FactorReport {
    /// Whether all inverses were made anew.
    pub refreshed: bool,
    /// `Δᵀg` with the mean gradient: to first order, the fall of the mean loss for a step size of 1
    /// (before normalisation).
    pub decrease: f64,
    /// Factor of the KL clip; 1 inside the bound.
    pub scale: f64,
    /// Paths of covered parameters that took their plain gradient: asked for, or not of the form
    /// that their layer suggests (a convolution with groups, a weight that is also looked up).
    pub plain: Vec<String>,
}
