//! How unequal the gradients of a batch's samples are.

use crate::error::Error;
use crate::jacobian::Jacobian;

/// The imbalance of a batch: the largest norm of a sample's gradient divided by the smallest.
///
/// It is infinite if a sample's gradient is zero. The larger it is, the further EF is from the
/// natural gradient: EF asks for the same decrease of every sample's loss, so the samples with the
/// smallest gradients, which are fitted already, dominate its direction.
///
/// ```
/// use burn::nn::LinearConfig;
/// use burn::tensor::{Device, Tensor};
/// use burn_ief::Tape;
/// use burn_ief::eval::imbalance;
/// use burn_ief::jacobian::Jacobian;
/// use burn_ief::nn::ForwardRecorded;
///
/// let device = Device::flex().autodiff();
/// let layer = LinearConfig::new(1, 1).with_bias(false).init(&device);
/// let x = Tensor::<2>::from_floats([[1.0], [4.0], [2.0]], &device);
/// let tape = Tape::start();
/// let grads = layer.forward_recorded(x).mean().backward();
/// let jacobian = Jacobian::from_tape(tape, grads, &layer)?;
/// assert!((imbalance(&jacobian)? - 4.0).abs() < 1e-5);
/// # Ok::<(), burn_ief::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::NonFinite`] naming the samples whose gradients are NaN or infinite.
pub fn imbalance(jacobian: &Jacobian) -> Result<f64, Error> {
    let norms = jacobian.row_norms();
    let bad = (0..norms.len()).filter(|&n| !norms[n].is_finite());
    let bad: Vec<usize> = bad.collect();
    if !bad.is_empty() {
        return Err(Error::NonFinite {
            what: "per-sample gradients",
            samples: bad,
        });
    }
    let largest = norms.iter().copied().fold(0.0, f64::max);
    let smallest = norms.iter().copied().fold(f64::INFINITY, f64::min);
    Ok(largest / smallest)
}
