//! A marked output, before and after `backward`.

use burn::tensor::{Gradients, Tensor};

use super::labels::Likelihood;

/// Reads the gradient of the scalar loss at an output.
type ReadError = Box<dyn FnOnce(&Gradients) -> Option<Tensor<2>>>;

/// A marked output of the model and, with drawn labels, the surrogate loss of its copies.
pub(super) struct OutputMark {
    pub likelihood: Likelihood,
    /// `[M, T * C]`: gradient of the scalar loss at the output of the true copies.
    pub error: ReadError,
    /// Output of the true copies, `[M, T, C]`.
    pub value: Tensor<3>,
    /// `Σ z ∘ dz` over the copies, on the autodiff graph, with `dz` the drawn output gradients.
    pub surrogate: Option<Tensor<1>>,
    /// `[K * M, T * C]`: output gradients of the copies.
    pub drawn: Option<Tensor<2>>,
}

impl OutputMark {
    pub(super) fn finish(self, grads: &Gradients, alpha: f64) -> Option<OutputErrors> {
        let error = (self.error)(grads)?;
        Some(OutputErrors {
            error: error / alpha,
            value: self.value,
            likelihood: self.likelihood,
            drawn: self.drawn,
        })
    }
}

/// A marked output after `backward`, with the loss scale taken out.
pub(crate) struct OutputErrors {
    /// ∂l_n/∂z_n, `[M, T * C]`.
    pub error: Tensor<2>,
    /// z_n, `[M, T, C]`.
    pub value: Tensor<3>,
    pub likelihood: Likelihood,
    /// Output gradients for the drawn labels, `[K * M, T * C]`, as scaled by the draw.
    pub drawn: Option<Tensor<2>>,
}
