//! Dropout that gives all copies of a sample the same mask.

use burn::nn::Dropout;
use burn::tensor::{DType, Distribution, Tensor};

use super::ForwardRecorded;
use crate::host::to_host;
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

/// The dropout of attention weights for [`burn_flex_fused::attention()`], for queries `[M, T, d]`;
/// `None` where it is not active.
///
/// Its seed comes from the generator of the device, so `device.seed` repeats it. In a recording, all
/// copies of a sample drop the same weights. The seed is read from the device: on a GPU Burn's own
/// dropout does not need to wait.
///
/// ```
/// use burn::nn::DropoutConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::attention_dropout;
///
/// let dropout = DropoutConfig::new(0.1).init();
/// let query = Tensor::<3>::ones([4, 3, 8], &Device::flex().autodiff());
/// assert_eq!(attention_dropout(&dropout, &query).unwrap().probability(), 0.1);
/// // Without autodiff nothing is dropped, as by Burn's own.
/// assert!(attention_dropout(&dropout, &query.inner()).is_none());
/// ```
pub fn attention_dropout(dropout: &Dropout, query: &Tensor<3>) -> Option<burn_flex_fused::Dropout> {
    if !is_active(dropout, query) {
        return None;
    }
    // Every number below 2^24 is an f32.
    let parts = Distribution::Uniform(0.0, f64::from(1u32 << 24));
    let parts = Tensor::<1>::random([2], parts, (&query.device().inner(), DType::F32));
    let parts = to_host(parts);
    let seed = parts
        .into_iter()
        .fold(0, |seed, part| seed << 24 | part as u64);
    let copies = recorder().map_or(1, |recorder| recorder.copies());
    let copies = if query.dims()[0].is_multiple_of(copies) {
        copies
    } else {
        1
    };
    Some(burn_flex_fused::Dropout::new(dropout.prob, seed).with_copies(copies))
}

/// Whether Burn's dropout drops anything of `x`.
pub(super) fn is_active<const D: usize>(dropout: &Dropout, x: &Tensor<D>) -> bool {
    dropout.training.is_enabled() && x.device().is_autodiff() && dropout.prob > 0.0
}
