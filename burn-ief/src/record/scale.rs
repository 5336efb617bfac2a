//! How the scalar loss relates to the losses of the samples.

/// The factor α between the scalar loss that `backward` starts from and the losses l_n of the
/// samples: `loss = α Σ_n l_n`.
///
/// `backward` sees only the scalar. It cannot tell whether this is a sum or a mean, but damped
/// updates depend on it. With the scale declared, every update of this crate is in **sum form**:
/// the same damping and step size mean the same for every reduction and batch size.
///
/// ```
/// use burn_ief::{LossScale, Tape};
///
/// // A loss averaged over the 120 real tokens of a padded batch; a sample's loss is the sum
/// // over its tokens.
/// let tape = Tape::start().with_loss_scale(LossScale::Factor(1.0 / 120.0));
/// # drop(tape);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum LossScale {
    /// The mean over the samples of the batch, α = 1/M.
    #[default]
    Mean,
    /// The sum over the samples, α = 1.
    Sum,
    /// Any other factor: 1 over the number of tokens or over the sum of class weights, or the
    /// weight of the loss in a larger objective.
    Factor(f64),
}

impl LossScale {
    /// α for a batch of `samples`.
    pub fn factor(self, samples: usize) -> f64 {
        match self {
            Self::Mean => 1.0 / samples.max(1) as f64,
            Self::Sum => 1.0,
            Self::Factor(factor) => factor,
        }
    }
}
