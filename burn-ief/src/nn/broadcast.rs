//! A parameter that every sample of the batch shares.

use burn::module::Param;
use burn::tensor::Tensor;

use crate::record::recorder;
use crate::rows::Rows;

/// Recorded broadcast of a parameter over the batch: soft prompts, class tokens, position
/// embeddings, scales, relative biases.
///
/// Broadcasting hides the per-sample gradient, so the parameter is expanded first; its rows are
/// dense, `[M, P]`.
///
/// ```
/// use burn::module::Param;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::nn::ParamRecorded;
///
/// let device = Device::flex().autodiff();
/// let prompt = Param::from_tensor(Tensor::<2>::ones([20, 8], &device));
/// assert_eq!(prompt.expand_batch::<3>(4).dims(), [4, 20, 8]);
///
/// let class_token = Param::from_tensor(Tensor::<3>::ones([1, 1, 8], &device));
/// assert_eq!(class_token.expand_batch::<3>(4).dims(), [4, 1, 8]);
/// ```
pub trait ParamRecorded {
    /// One copy of the parameter for each of `batch` samples, on axis 0.
    ///
    /// `D2` is the rank with the batch axis: one more than the parameter's, or the parameter's own
    /// rank where its axis 0 is 1. In a recording with drawn labels axis 0 also holds the copies.
    ///
    /// # Panics
    ///
    /// Panics if `D2` is neither, or if it equals the parameter's rank and axis 0 is not 1.
    fn expand_batch<const D2: usize>(&self, batch: usize) -> Tensor<D2>;
}

impl<const D: usize> ParamRecorded for Param<Tensor<D>> {
    fn expand_batch<const D2: usize>(&self, batch: usize) -> Tensor<D2> {
        let value = self.val();
        let own = value.dims();
        let mut shape = [batch; D2];
        match D2 {
            _ if D2 == D + 1 => shape[1..].copy_from_slice(&own),
            _ if D2 == D && own[0] == 1 => shape[1..].copy_from_slice(&own[1..]),
            _ => panic!("cannot expand a parameter of shape {own:?} to rank {D2} by a batch axis"),
        }
        let mut single = shape;
        single[0] = 1;
        let Some(recorder) = recorder() else {
            return value.reshape(single).expand(shape);
        };
        shape[0] = recorder.batch_size(batch);
        if !self.is_require_grad() {
            return value.reshape(single).expand(shape);
        }
        let expanded = value.clone().inner().reshape(single).expand(shape);
        let tap = recorder.leaf(expanded, &value, self);
        let leaf = tap.value();
        let [rows, width] = [shape[0], shape[1..].iter().product()];
        recorder.record(self, rows, move |grads| {
            let error = tap.error(grads)?;
            Some(Rows::dense(error.reshape([rows, width])))
        });
        leaf
    }
}
