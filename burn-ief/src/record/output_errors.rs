//! What a marked output shows after `backward`.

use burn::tensor::Tensor;

use super::labels::Likelihood;

/// A marked output after `backward`, with the loss scale taken out.
#[expect(
    clippy::large_enum_variant,
    reason = "there are few marks in a recording, so the size does not matter"
)]
pub(crate) enum OutputErrors {
    /// One that was there as a whole.
    Whole(WholeErrors),
    /// The logits of a loss over tokens, which were never there as a whole.
    Tokens(TokenErrors),
}

/// The errors of an output that was there as a whole.
pub(crate) struct WholeErrors {
    /// ∂l_n/∂z_n, `[M, T * C]`.
    pub error: Tensor<2>,
    /// z_n, `[M, T, C]`.
    pub value: Tensor<3>,
    pub likelihood: Likelihood,
    /// Output gradients for the drawn labels, `[K * M, T * C]`, as scaled by the draw.
    pub drawn: Option<Tensor<2>>,
}

/// What a cross-entropy over tokens knows of the errors at its logits.
pub(crate) struct TokenErrors {
    /// ∂loss/∂l_n, without α: 1 if the declared scale is right, `[M]`.
    pub weights: Tensor<1>,
    pub facts: TokenFacts,
}

/// Sums over the answer tokens of every sample.
pub(crate) struct TokenFacts {
    /// Squared errors `‖softmax(z) − onehot(y)‖²`, `[M]`.
    pub squares: Tensor<1>,
    /// Answer tokens of each sample.
    pub tokens: Vec<usize>,
    /// Positions of the batch, answers or not.
    pub positions: usize,
    pub drawn: Option<DrawnTokens>,
}

/// The same of drawn labels, copy after copy.
pub(crate) struct DrawnTokens {
    /// Squared errors, `[K * M]`, as scaled by the draw.
    pub squares: Tensor<1>,
    /// Tokens that were drawn otherwise than the true ones, `[K * M]`.
    pub differ: Tensor<1>,
}
