//! One recorded pass backward from the outputs.

use burn::module::{Module, ParamGroup};
use burn::tensor::Tensor;

use super::outputs::flattened;
use crate::error::Error;
use crate::jacobian::{Jacobian, RecordedBatch};
use crate::record::{LossScale, Tape};

/// The gradient of `Σ z ∘ cotangent`, sample by sample; `cotangent` is `[M, T, C]`.
///
/// # Errors
///
/// As [`RecordedBatch::collect`]; [`Error::NothingRecorded`] if the outputs do not depend on a trainable
/// parameter; [`Error::Size`] if the recorded calls saw another number of samples.
pub(super) fn record<M: Module, const D: usize>(
    module: &M,
    group: Option<&ParamGroup>,
    forward: impl Fn(&M) -> Tensor<D>,
    cotangent: Tensor<3>,
) -> Result<Jacobian, Error> {
    let [samples, _, _] = cotangent.dims();
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let z = flattened(forward(module));
    // Without a graph `backward` would panic.
    if !z.is_tracked() {
        return Err(Error::NothingRecorded);
    }
    let cotangent = cotangent.cast(z.dtype());
    let grads = (z * cotangent).sum().backward();
    let jacobian = RecordedBatch::collect(tape, grads, module, group)?.jacobian();
    if jacobian.samples() != samples {
        return Err(Error::Size {
            what: "samples on axis 0 of the recorded calls",
            expected: samples,
            found: jacobian.samples(),
        });
    }
    Ok(jacobian)
}
