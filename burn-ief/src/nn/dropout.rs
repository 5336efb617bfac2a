//! Dropout that keeps copies of a sample under one mask.

use burn::nn::Dropout;
use burn::tensor::{Distribution, Tensor};

use crate::record::recorder;

/// Recorded form of [`Dropout`].
///
/// In a recording with drawn labels the copies of a sample share its mask, so that all of them
/// pass through the same network. Elsewhere it is Burn's own.
///
/// ```
/// use burn::nn::DropoutConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::DropoutRecorded;
///
/// let dropout = DropoutConfig::new(0.5).init();
/// let x = Tensor::<2>::ones([4, 3], &Device::flex().autodiff());
/// assert_eq!(dropout.forward_recorded(x).dims(), [4, 3]);
/// ```
pub trait DropoutRecorded {
    /// Zero entries at random and rescale the others, as [`Dropout::forward`].
    fn forward_recorded<const D: usize>(&self, x: Tensor<D>) -> Tensor<D>;
}

impl DropoutRecorded for Dropout {
    fn forward_recorded<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let active = self.training.is_enabled() && x.device().is_autodiff() && self.prob > 0.0;
        let Some(recorder) = recorder().filter(|_| active) else {
            return self.forward(x);
        };
        let copies = recorder.copies();
        if copies == 1 {
            return self.forward(x);
        }
        let x = recorder.batch(x);
        let keep = 1.0 - self.prob;
        let samples = x.dims()[0] / copies;
        let mask = x
            .clone()
            .narrow(0, 0, samples)
            .random_like(Distribution::Bernoulli(keep))
            .repeat_dim(0, copies);
        x * mask * (1.0 / keep)
    }
}
