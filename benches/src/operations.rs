//! What computes the operations of a model.

/// What computes linear layers, activations, norms and attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operations {
    /// burn-flex-fused.
    Fused,
    /// Burn's own operations.
    Burn,
}
