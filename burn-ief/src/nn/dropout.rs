//! Dropout that gives all copies of a sample the same mask.

use burn::nn::Dropout;
use burn::tensor::{Distribution, Tensor};

use super::ForwardRecorded;
use crate::record::{is_empty_batch, recorder};

/// Records nothing, but gives all copies of a sample the same mask.
///
/// A recording with drawn labels carries several copies of each sample. They have to pass through
/// the same network, so they share the sample's mask. Everywhere else this is Burn's own dropout.
///
/// # Shapes
///
/// - input and output: `[M, …]`
///
/// ```
/// use burn::nn::DropoutConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ForwardRecorded;
///
/// let dropout = DropoutConfig::new(0.5).init();
/// let x = Tensor::<2>::ones([4, 3], &Device::flex().autodiff());
/// assert_eq!(dropout.forward_recorded(x).dims(), [4, 3]);
/// ```
impl<const D: usize> ForwardRecorded<Tensor<D>> for Dropout {
    type Output = Tensor<D>;

    fn forward_recorded(&self, x: Tensor<D>) -> Tensor<D> {
        if is_empty_batch(x.dims()[0]) {
            return x;
        }
        let Some(recorder) = recorder().filter(|_| is_active(self, &x)) else {
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

/// Whether Burn's dropout drops anything of `x`.
pub(super) fn is_active<const D: usize>(dropout: &Dropout, x: &Tensor<D>) -> bool {
    dropout.training.is_enabled() && x.device().is_autodiff() && dropout.prob > 0.0
}
