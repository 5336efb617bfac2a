//! What forward and backward passes give, and how the passes of several shards are joined.

use burn_ief::exchange::Exchange;
use burn_ief::jacobian::{Jacobian, RecordedBatch};

use crate::error::Error;

/// What one forward and backward pass gives.
pub struct Pass {
    /// Logits, row-major.
    pub logits: Vec<f64>,
    /// The loss of each sample.
    pub losses: Vec<f64>,
    /// The recording.
    pub recorded: RecordedBatch,
}

/// What all samples give.
pub struct Measured {
    /// Logits, row-major.
    pub logits: Vec<f64>,
    /// The loss of each sample.
    pub losses: Vec<f64>,
    /// Squared gradient norms with respect to the logits.
    pub output_norms: Vec<f64>,
    /// The rows of all samples.
    pub jacobian: Jacobian,
}

impl Measured {
    /// Join the passes of the shards, in their order. Devices exchange their rows as `exchange` says.
    ///
    /// # Errors
    ///
    /// [`Error::Compute`], and the first error of a pass.
    pub fn join(
        passes: impl IntoIterator<Item = Result<Pass, Error>>,
        exchange: &Exchange,
    ) -> Result<Self, Error> {
        let (mut logits, mut losses, mut output_norms) = (Vec::new(), Vec::new(), Vec::new());
        let mut jacobians = Vec::new();
        for pass in passes {
            let pass = pass?;
            logits.extend(pass.logits);
            losses.extend(pass.losses);
            let norms = pass.recorded.output_norms();
            output_norms.extend(norms.map_err(Error::compute("s"))?);
            jacobians.push(pass.recorded.jacobian());
        }
        let jacobian = exchange.join(jacobians);
        Ok(Self {
            logits,
            losses,
            output_norms,
            jacobian: jacobian.map_err(Error::compute("per-sample gradients"))?,
        })
    }
}
