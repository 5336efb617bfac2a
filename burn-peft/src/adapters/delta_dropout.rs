//! Dropout of what an adapter adds.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Distribution, Tensor};

use super::parameter::like;

/// LoHa's and LoKr's dropouts of the matrix that an adapter adds, as in PEFT: of whole columns
/// (`rank_dropout`) and of the whole matrix (`module_dropout`). One draw counts for all samples of a
/// batch. They act in training only.
///
/// ```
/// use burn_peft::DeltaDropout;
///
/// let dropout = DeltaDropout::new(0.1, 0.0, true);
/// assert_eq!(dropout.columns.prob, 0.1);
/// ```
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct DeltaDropout {
    /// The probability of dropping a column, and whether it is on.
    pub columns: Dropout,
    /// The probability of dropping the matrix, and whether it is on.
    pub matrix: Dropout,
    /// Whether the columns that stay are divided by the share of those that stay.
    pub rescale: bool,
}

impl DeltaDropout {
    /// With these probabilities.
    ///
    /// # Panics
    ///
    /// Panics if one is below 0 or not below 1.
    pub fn new(columns: f64, matrix: f64, rescale: bool) -> Self {
        let [columns, matrix] = [columns, matrix].map(|prob| DropoutConfig::new(prob).init());
        Self {
            columns,
            matrix,
            rescale,
        }
    }

    /// Of `x Δ`, `[M, T, out]`.
    pub(crate) fn forward(&self, y: Tensor<3>) -> Tensor<3> {
        let training = |dropout: &Dropout| {
            dropout.prob > 0.0 && dropout.training.is_enabled() && y.device().is_autodiff()
        };
        let (columns, matrix) = (training(&self.columns), training(&self.matrix));
        let [_, _, width] = y.dims();
        let draw = |width: usize, dropout: &Dropout| {
            let place = (&y.device().inner(), y.dtype());
            Tensor::<3>::zeros([1, 1, width], place)
                .random_like(Distribution::Bernoulli(1.0 - dropout.prob))
        };
        let mut kept = None;
        if columns {
            let drawn = draw(width, &self.columns);
            kept = Some(if self.rescale {
                let share = drawn.clone().mean().reshape([1, 1, 1]);
                let none = share.clone().equal_elem(0.0);
                drawn / share.mask_fill(none, 1.0)
            } else {
                drawn
            });
        }
        if matrix {
            // A product with zero and not a pass without the adapter: a recording needs a use of every
            // parameter.
            let drawn = draw(1, &self.matrix);
            kept = Some(match kept {
                Some(kept) => kept * drawn,
                None => drawn,
            });
        }
        match kept {
            Some(kept) => y.clone() * like(kept, &y),
            None => y,
        }
    }
}
