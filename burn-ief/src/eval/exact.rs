//! u = J_z Δ by one recorded backward pass per output.

use burn::module::{Module, ParamGroup};
use burn::tensor::{Tensor, TensorData};

use super::loss::flattened;
use crate::error::Error;
use crate::jacobian::{Jacobian, RecordedBatch};
use crate::params::{Direction, ParamInfo};
use crate::record::{LossScale, Tape};

/// One recorded pass: the gradient of `Σ z ∘ cotangent`, sample by sample.
///
/// # Errors
///
/// As [`RecordedBatch::collect`]; [`Error::Size`] if the recorded calls saw another batch.
pub(super) fn record<M: Module, const D: usize>(
    module: &M,
    group: Option<&ParamGroup>,
    forward: impl Fn(&M) -> Tensor<D>,
    cotangent: Tensor<3>,
) -> Result<Jacobian, Error> {
    let [samples, _, _] = cotangent.dims();
    let tape = Tape::start().with_loss_scale(LossScale::Sum);
    let z = flattened(forward(module));
    // Nothing trainable on the way to the outputs: there is no graph to go back through.
    if !z.is_tracked() {
        return Err(Error::NothingRecorded);
    }
    let cotangent = cotangent.cast(z.dtype());
    let grads = (z * cotangent).sum().backward();
    let jacobian = RecordedBatch::collect(tape, grads, module, group)?.jacobian();
    match jacobian.samples() == samples {
        true => Ok(jacobian),
        false => Err(Error::Size {
            what: "samples on axis 0 of the recorded calls",
            expected: samples,
            found: jacobian.samples(),
        }),
    }
}

/// The Jacobian of every output, `[T * C]` of them.
pub(super) struct OutputRows {
    rows: Vec<Jacobian>,
    positions: usize,
    classes: usize,
}

impl OutputRows {
    /// One pass per output of a sample.
    pub fn record<M: Module, const D: usize>(
        module: &M,
        group: Option<&ParamGroup>,
        forward: impl Fn(&M) -> Tensor<D>,
        z: &Tensor<3>,
    ) -> Result<Self, Error> {
        let [samples, positions, classes] = z.dims();
        let pass = |output| {
            let one = Tensor::<1>::ones([1], (&z.device(), z.dtype()));
            let place = [
                0..samples,
                output / classes..output / classes + 1,
                output % classes..output % classes + 1,
            ];
            let cotangent = z.zeros_like();
            let cotangent =
                cotangent.slice_assign(place, one.reshape([1, 1, 1]).expand([samples, 1, 1]));
            record(module, group, &forward, cotangent)
        };
        let rows = (0..positions * classes).map(pass);
        Ok(Self {
            rows: rows.collect::<Result<_, _>>()?,
            positions,
            classes,
        })
    }

    pub fn passes(&self) -> usize {
        self.rows.len()
    }

    /// u, `[M, T, C]`, beside z.
    pub fn rates(
        &self,
        params: &[ParamInfo],
        direction: &Direction,
        z: &Tensor<3>,
    ) -> Result<Tensor<3>, Error> {
        let [samples, _, _] = z.dims();
        let mut rates = vec![0.0; samples * self.rows.len()];
        let direction = direction.clone().into_gradients(params);
        for (output, rows) in self.rows.iter().enumerate() {
            for (n, rate) in rows.matvec(&direction)?.into_iter().enumerate() {
                rates[n * self.rows.len() + output] = rate;
            }
        }
        let data = TensorData::new(rates, [samples, self.positions, self.classes]);
        Ok(Tensor::from_data(data, (&z.device(), z.dtype())))
    }
}
